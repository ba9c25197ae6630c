#include "api/host.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/text.hpp"
#include "linux/apparmor.hpp"
#include "linux/cgroup.hpp"

#include <malloc.h>
#include <sched.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <filesystem>

#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#include <sanitizer/allocator_interface.h>
#endif

namespace grua::api {

namespace {

utsname kernel() {
    utsname out{};
    if (::uname(&out) < 0) fail_errno("uname");
    return out;
}

/// A value of /etc/os-release, without its quotes.
std::string os_release(std::string_view text, std::string_view name) {
    for (const std::string& line : split(text, '\n')) {
        if (!line.starts_with(name) || line.size() <= name.size() || line[name.size()] != '=') continue;
        std::string value = line.substr(name.size() + 1);
        if (value.size() >= 2 && (value.front() == '"' || value.front() == '\'') && value.back() == value.front())
            value = value.substr(1, value.size() - 2);
        return value;
    }
    return {};
}

std::string read_or_empty(const std::string& path) {
    try {
        return read_file(path);
    } catch (const Error&) {
        return {};
    }
}

std::int64_t entries_of(const char* directory) {
    std::error_code error;
    std::int64_t count = 0;
    for (std::filesystem::directory_iterator it{directory, error}, end; !error && it != end; it.increment(error)) ++count;
    return count;
}

void describe_cgroups(wire::Info& info) {
    using namespace linux;
    try {
        const CgroupMounts mounts = CgroupMounts::detect();
        const unsigned has = mounts.controllers();
        const bool v2 = mounts.layout() == CgroupLayout::v2;
        info.cgroup_version = v2 ? "2" : "1";
        info.memory_limit = (has & controller::memory) != 0;
        info.swap_limit = info.memory_limit && (v2 || std::filesystem::exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"));
        info.cpu_cfs_period = info.cpu_cfs_quota = info.cpu_shares = (has & controller::cpu) != 0;
        info.cpu_set = (has & controller::cpuset) != 0;
        info.pids_limit = (has & controller::pids) != 0;
        info.oom_kill_disable = !v2 && info.memory_limit;
        if (!v2 && std::filesystem::exists("/sys/fs/cgroup/memory/memory.kmem.tcp.limit_in_bytes")) info.kernel_memory_tcp = true;
        if (!v2 && std::filesystem::exists("/sys/fs/cgroup/memory/memory.kmem.limit_in_bytes")) info.kernel_memory = true;
        if (has_apparmor()) info.security_options.emplace_back("name=apparmor");
        info.security_options.emplace_back("name=seccomp,profile=builtin");
        if (v2) info.security_options.emplace_back("name=cgroupns");
    } catch (const Error& error) {
        info.warnings = wire::StringList{fmt::format("WARNING: {}", error.what())};
    }
}

}  // namespace

std::string kernel_version() { return kernel().release; }

std::string go_architecture() {
    const std::string machine = kernel().machine;
    if (machine == "x86_64") return "amd64";
    if (machine == "aarch64") return "arm64";
    return machine;
}

void describe_host(wire::Info& info) {
    const utsname names = kernel();
    info.kernel_version = names.release;
    info.architecture = names.machine;
    info.name = names.nodename;
    std::string release = read_or_empty("/etc/os-release");
    if (release.empty()) release = read_or_empty("/usr/lib/os-release");
    info.operating_system = os_release(release, "PRETTY_NAME");
    info.os_version = os_release(release, "VERSION_ID");
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    info.ncpu = ::sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : ::sysconf(_SC_NPROCESSORS_ONLN);
    struct sysinfo memory{};
    if (::sysinfo(&memory) == 0) info.mem_total = static_cast<std::int64_t>(memory.totalram) * memory.mem_unit;
    info.ipv4_forwarding = trim(read_or_empty("/proc/sys/net/ipv4/ip_forward")) == "1";
    info.n_fd = entries_of("/proc/self/fd");
    info.n_goroutines = entries_of("/proc/self/task");
    info.system_time = format_time(now());
    describe_cgroups(info);
}

std::uint64_t heap_in_use() {
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    return __sanitizer_get_current_allocated_bytes();
#else
    const struct mallinfo2 all = ::mallinfo2();
    return all.uordblks + all.hblkhd;
#endif
}

}  // namespace grua::api
