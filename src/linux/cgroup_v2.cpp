// OCI limits as the files of cgroup v2.
#include "linux/cgroup.hpp"

#include "base/error.hpp"
#include "linux/detail/bpf_devices.hpp"
#include "linux/detail/cgroup_apply.hpp"
#include "linux/detail/cgroup_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

namespace grua::linux::detail {
namespace {

std::string number_or_max(std::int64_t value) { return value == -1 ? "max" : std::to_string(value); }

void apply_memory(const MemoryResources& memory, int directory) {
    const std::int64_t limit = set_or_zero(memory.limit), reservation = set_or_zero(memory.reservation);
    if (limit > 0 && memory.check_before_update.value_or(false)) {
        const auto used = read_cgroup_number(directory, "memory.current").value_or(0);
        if (used > static_cast<std::uint64_t>(limit))
            fail(ErrorKind::invalid_argument, "memory limit {} is below what is used now ({})", limit, used);
    }
    if (const auto swap = swap_alone(memory.limit, memory.swap)) {
        const auto text = number_or_max(*swap);
        const int error = try_write_cgroup_file(directory, "memory.swap.max", text);
        // Without swap in the kernel, none and all of it are both what there is.
        if (error != 0 && !(error == ENOENT && (*swap == 0 || *swap == -1))) fail_cgroup_write("memory.swap.max", text, error);
    }
    if (limit != 0) write_cgroup_file(directory, "memory.max", number_or_max(limit));
    if (reservation != 0) write_cgroup_file(directory, "memory.low", number_or_max(reservation));
    // Swappiness, the switch of the OOM killer and the kernel's own limits do not exist here; Docker and runc ignore them too.
}

void apply_cpu(const CpuResources& cpu, int directory) {
    if (cpu.idle) write_cgroup_file(directory, "cpu.idle", *cpu.idle);
    // The weight of an idle cgroup is fixed, and the kernel refuses to set it.
    if (set_or_zero(cpu.shares) != 0 && set_or_zero(cpu.idle) == 0)
        write_cgroup_file(directory, "cpu.weight", std::to_string(weight_from_shares(*cpu.shares)));

    const auto quota = set_or_zero(cpu.quota);
    const auto period = set_or_zero(cpu.period);
    int burst_error = 0;
    if (cpu.burst) {
        burst_error = try_write_cgroup_file(directory, "cpu.max.burst", std::to_string(*cpu.burst));
        // More than the quota that is still there: again after the new one.
        if (burst_error != 0 && !(burst_error == EINVAL && quota != 0))
            fail_cgroup_write("cpu.max.burst", std::to_string(*cpu.burst), burst_error);
    }
    if (quota != 0 || period != 0) {
        // A number alone leaves the period. A period alone must not take the quota away, as it does not on v1.
        std::string text = quota > 0 ? std::to_string(quota) : "max";
        if (quota == 0) {
            const auto now = read_cgroup_file(directory, "cpu.max").value_or("max");
            text = now.substr(0, now.find_first_of(" \n"));
        }
        if (period != 0) text += fmt::format(" {}", period);
        write_cgroup_file(directory, "cpu.max", text);
    }
    if (burst_error != 0) write_cgroup_file(directory, "cpu.max.burst", std::to_string(*cpu.burst));

    if (!cpu.cpus.empty()) write_cgroup_file(directory, "cpuset.cpus", cpu.cpus);
    if (!cpu.mems.empty()) write_cgroup_file(directory, "cpuset.mems", cpu.mems);
    if (set_or_zero(cpu.rt_period) != 0 || set_or_zero(cpu.rt_runtime) != 0)
        fail(ErrorKind::invalid_argument, "real-time limits need cgroup v1");
}

void apply_weight(const BlockIoResources& io, int directory) {
    const auto weight = set_or_zero(io.weight);
    const auto bfq = ::faccessat(directory, "io.bfq.weight", F_OK, 0) == 0;
    if (weight != 0) {
        if (bfq) {
            write_cgroup_file(directory, "io.bfq.weight", std::to_string(weight));
        } else {
            write_cgroup_file(directory, "io.weight", fmt::format("default {}", io_weight_from_blkio(weight)));
        }
    }
    for (const auto& device : io.weight_device) {
        if (set_or_zero(device.weight) == 0) continue;
        const auto value = bfq ? std::uint64_t{*device.weight} : io_weight_from_blkio(*device.weight);
        write_cgroup_file(directory, bfq ? "io.bfq.weight" : "io.weight", fmt::format("{}:{} {}", device.major, device.minor, value));
    }
}

void apply_throttle(const char* key, const std::vector<ThrottleDevice>& devices, int directory) {
    for (const auto& device : devices)
        write_cgroup_file(
            directory, "io.max",
            fmt::format("{}:{} {}={}", device.major, device.minor, key, device.rate == 0 ? "max" : std::to_string(device.rate)));
}

void apply_unified(const std::map<std::string, std::string>& files, int directory) {
    for (const auto& [name, text] : files) {
        if (name.empty() || name.find('/') != std::string::npos)
            fail(ErrorKind::invalid_argument, "\"unified\" names files of the cgroup, not \"{}\"", name);
        // One write for each line: io.max and the like take one device at a time.
        for (std::size_t begin = 0; begin <= text.size();) {
            const auto end = std::min(text.find('\n', begin), text.size());
            if (end > begin || text.empty()) write_cgroup_file(directory, name.c_str(), std::string_view{text}.substr(begin, end - begin));
            begin = end + 1;
        }
    }
}

}  // namespace

void apply_v2(const Resources& resources, int directory) {
    if (resources.devices) attach_device_program(directory, device_list(*resources.devices));
    apply_memory(resources.memory, directory);
    apply_cpu(resources.cpu, directory);
    if (resources.pids_limit)
        write_cgroup_file(directory, "pids.max", *resources.pids_limit > 0 ? std::to_string(*resources.pids_limit) : "max");
    apply_weight(resources.block_io, directory);
    apply_throttle("rbps", resources.block_io.throttle_read_bps, directory);
    apply_throttle("wbps", resources.block_io.throttle_write_bps, directory);
    apply_throttle("riops", resources.block_io.throttle_read_iops, directory);
    apply_throttle("wiops", resources.block_io.throttle_write_iops, directory);
    for (const auto& [size, limit] : resources.hugepage_limits) {
        write_cgroup_file(directory, fmt::format("hugetlb.{}.max", size).c_str(), std::to_string(limit));
        const auto reserved = fmt::format("hugetlb.{}.rsvd.max", size);
        const int error = try_write_cgroup_file(directory, reserved.c_str(), std::to_string(limit));
        if (error != 0 && error != ENOENT) fail_cgroup_write(reserved.c_str(), std::to_string(limit), error);
    }
    for (const auto& [device, limit] : resources.rdma) write_cgroup_file(directory, "rdma.max", rdma_line(device, limit));
    if (set_or_zero(resources.network_class_id) != 0 || !resources.network_priorities.empty())
        fail(ErrorKind::invalid_argument, "network classes and priorities need cgroup v1");
    apply_unified(resources.unified, directory);
}

}  // namespace grua::linux::detail
