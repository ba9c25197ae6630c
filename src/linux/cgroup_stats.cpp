// What has been used, and the OOM events.
#include "linux/cgroup.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "linux/detail/cgroup_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

namespace grua::linux {
namespace {

using detail::read_cgroup_file;
using detail::read_cgroup_number;

std::uint64_t value_of(const std::map<std::string, std::uint64_t>& values, const char* key) {
    const auto found = values.find(key);
    return found == values.end() ? 0 : found->second;
}

std::map<std::string, std::uint64_t> keyed(int directory, const char* name) {
    return parse_flat_keyed(read_cgroup_file(directory, name).value_or(""));
}

CpuStats cpu_v1(int accounting, int cpu) {
    CpuStats stats;
    if (accounting >= 0) {
        stats.usage_ns = read_cgroup_number(accounting, "cpuacct.usage").value_or(0);
        stats.user_ns = read_cgroup_number(accounting, "cpuacct.usage_user").value_or(0);
        stats.system_ns = read_cgroup_number(accounting, "cpuacct.usage_sys").value_or(0);
        for (const auto& part : split(trim(read_cgroup_file(accounting, "cpuacct.usage_percpu").value_or("")), ' '))
            if (const auto value = parse_uint(part)) stats.per_cpu_ns.push_back(*value);
    }
    if (cpu >= 0) {
        const auto values = keyed(cpu, "cpu.stat");
        stats.periods = value_of(values, "nr_periods");
        stats.throttled_periods = value_of(values, "nr_throttled");
        stats.throttled_ns = value_of(values, "throttled_time");
    }
    return stats;
}

CpuStats cpu_v2(int directory) {
    const auto values = keyed(directory, "cpu.stat");
    const auto from_us = [&](const char* key) { return value_of(values, key) * 1000; };
    return {.usage_ns = from_us("usage_usec"),
            .user_ns = from_us("user_usec"),
            .system_ns = from_us("system_usec"),
            .periods = value_of(values, "nr_periods"),
            .throttled_periods = value_of(values, "nr_throttled"),
            .throttled_ns = from_us("throttled_usec")};
}

MemoryStats memory_v1(int directory) {
    // What the page counter can hold, in bytes, on every page size: v1 has no word for "no limit".
    constexpr std::uint64_t unlimited = 0x7FFF'FFFF'FFFF'0000;
    MemoryStats stats;
    stats.usage = read_cgroup_number(directory, "memory.usage_in_bytes").value_or(0);
    stats.max_usage = read_cgroup_number(directory, "memory.max_usage_in_bytes").value_or(0);
    stats.failures = read_cgroup_number(directory, "memory.failcnt").value_or(0);
    const auto limit = read_cgroup_number(directory, "memory.limit_in_bytes");
    if (limit && *limit < unlimited) stats.limit = limit;
    stats.detail = keyed(directory, "memory.stat");
    stats.swap_usage = value_of(stats.detail, "swap");
    return stats;
}

MemoryStats memory_v2(int directory) {
    return {.usage = read_cgroup_number(directory, "memory.current").value_or(0),
            .max_usage = read_cgroup_number(directory, "memory.peak").value_or(0),
            .failures = value_of(keyed(directory, "memory.events"), "max"),
            .limit = read_cgroup_number(directory, "memory.max"),
            .swap_usage = read_cgroup_number(directory, "memory.swap.current").value_or(0),
            .detail = keyed(directory, "memory.stat")};
}

IoStats io_v1(int directory) {
    // BFQ counts what it schedules; without it the throttling layer counts all.
    const auto read = [&](const char* bfq, const char* throttle) {
        auto entries = parse_blkio(read_cgroup_file(directory, bfq).value_or(""));
        if (entries.empty()) entries = parse_blkio(read_cgroup_file(directory, throttle).value_or(""));
        return entries;
    };
    return {.service_bytes = read("blkio.bfq.io_service_bytes_recursive", "blkio.throttle.io_service_bytes_recursive"),
            .serviced = read("blkio.bfq.io_serviced_recursive", "blkio.throttle.io_serviced_recursive")};
}

/// "8:0"
bool parse_device(std::string_view text, IoEntry& entry) {
    const auto colon = text.find(':');
    if (colon == std::string_view::npos) return false;
    const auto major = parse_uint(text.substr(0, colon)), minor = parse_uint(text.substr(colon + 1));
    if (!major || !minor) return false;
    entry.major = *major;
    entry.minor = *minor;
    return true;
}

}  // namespace

std::map<std::string, std::uint64_t> parse_flat_keyed(std::string_view text) {
    std::map<std::string, std::uint64_t> values;
    for (const auto& line : split(text, '\n')) {
        const auto space = line.find(' ');
        if (space == std::string::npos) continue;
        if (const auto value = parse_uint(std::string_view{line}.substr(space + 1))) values.emplace(line.substr(0, space), *value);
    }
    return values;
}

std::vector<IoEntry> parse_blkio(std::string_view text) {
    std::vector<IoEntry> entries;
    for (const auto& line : split(text, '\n')) {
        const auto fields = split(line, ' ');
        IoEntry entry;
        if (fields.size() != 3 || !parse_device(fields[0], entry)) continue;
        const auto value = parse_uint(fields[2]);
        if (!value) continue;
        entry.op = fields[1];
        entry.value = *value;
        entries.push_back(std::move(entry));
    }
    return entries;
}

IoStats parse_io_stat(std::string_view text) {
    IoStats stats;
    for (const auto& line : split(text, '\n')) {
        const auto fields = split(line, ' ');
        IoEntry entry;
        if (!parse_device(fields[0], entry)) continue;
        for (std::size_t i = 1; i < fields.size(); ++i) {
            const auto equals = fields[i].find('=');
            if (equals == std::string::npos) continue;
            const auto key = std::string_view{fields[i]}.substr(0, equals);
            const auto value = parse_uint(std::string_view{fields[i]}.substr(equals + 1));
            if (!value) continue;
            entry.value = *value;
            entry.op = key.starts_with('r') ? "read" : "write";
            if (key == "rbytes" || key == "wbytes") stats.service_bytes.push_back(entry);
            if (key == "rios" || key == "wios") stats.serviced.push_back(entry);
        }
    }
    return stats;
}

CgroupStats Cgroup::stats() const {
    CgroupStats stats;
    if (const int v2 = directory_fd(); v2 >= 0) {
        stats.cpu = cpu_v2(v2);
        stats.memory = memory_v2(v2);
        stats.io = parse_io_stat(read_cgroup_file(v2, "io.stat").value_or(""));
    } else {
        stats.cpu = cpu_v1(directory(controller::cpuacct), directory(controller::cpu));
        if (const int memory = directory(controller::memory); memory >= 0) stats.memory = memory_v1(memory);
        if (const int io = directory(controller::io); io >= 0) stats.io = io_v1(io);
    }
    if (const int pids = directory(controller::pids); pids >= 0) {
        stats.pids.current = read_cgroup_number(pids, "pids.current").value_or(0);
        stats.pids.limit = read_cgroup_number(pids, "pids.max");
    }
    return stats;
}

MemoryEvents Cgroup::memory_events() const {
    const int found = directory(controller::memory);
    if (found < 0) return {};
    const auto values = keyed(found, layout() == CgroupLayout::v2 ? "memory.events" : "memory.oom_control");
    return {.oom = value_of(values, "oom"), .oom_kill = value_of(values, "oom_kill")};
}

Fd Cgroup::watch_memory_events() const {
    const int found = directory(controller::memory);
    if (found < 0) return {};
    if (layout() == CgroupLayout::v2) {
        Fd watch{::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)};
        // cgroupfs tells of a change of the file as of a write to it.
        if (!watch || ::inotify_add_watch(watch.get(), fmt::format("/proc/self/fd/{}/memory.events", found).c_str(), IN_MODIFY) < 0)
            fail_errno("watch memory.events of cgroup {}", path_.text());
        return watch;
    }
    Fd event{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    const Fd control{::openat(found, "memory.oom_control", O_RDONLY | O_CLOEXEC)};
    if (!event || !control) fail_errno("watch memory.oom_control of cgroup {}", path_.text());
    while_doing(fmt::format("cgroup {}", path_.text()),
                [&] { detail::write_cgroup_file(found, "cgroup.event_control", fmt::format("{} {}", event.get(), control.get())); });
    return event;
}

}  // namespace grua::linux
