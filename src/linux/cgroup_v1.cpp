// OCI limits as the files of cgroup v1.
#include "linux/cgroup.hpp"

#include "base/error.hpp"
#include "linux/detail/cgroup_apply.hpp"
#include "linux/detail/cgroup_file.hpp"
#include "linux/detail/device_rules.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

namespace grua::linux::detail {
namespace {

void set_limit(int directory, std::int64_t limit) {
    const auto text = std::to_string(limit);
    const int error = try_write_cgroup_file(directory, "memory.limit_in_bytes", text);
    if (error == EBUSY)
        fail(ErrorKind::invalid_argument, "unable to set memory limit to {} (current usage: {}, peak usage: {})", limit,
             read_cgroup_number(directory, "memory.usage_in_bytes").value_or(0),
             read_cgroup_number(directory, "memory.max_usage_in_bytes").value_or(0));
    if (error != 0) fail_cgroup_write("memory.limit_in_bytes", text, error);
}

void apply_memory(const MemoryResources& memory, const FindDirectory& find) {
    constexpr const char* both_file = "memory.memsw.limit_in_bytes";
    const std::int64_t limit = set_or_zero(memory.limit), reservation = set_or_zero(memory.reservation);
    std::int64_t both = set_or_zero(memory.swap);
    if (limit == 0 && both == 0 && reservation == 0 && !memory.swappiness && !memory.disable_oom_killer && !memory.kernel_tcp) return;
    const int directory = find(controller::memory, "memory limit");

    if (limit > 0 && memory.check_before_update.value_or(false)) {
        const auto used = read_cgroup_number(directory, "memory.usage_in_bytes").value_or(0);
        if (used > static_cast<std::uint64_t>(limit))
            fail(ErrorKind::invalid_argument, "memory limit {} is below what is used now ({})", limit, used);
    }
    // No limit on memory with one left on memory and swap would be one on memory.
    if (limit == -1 && both == 0 && ::faccessat(directory, both_file, F_OK, 0) == 0) both = -1;
    // The kernel refuses memory above memory+swap at any moment: the upper bound moves first when it rises, last when it falls.
    const bool both_first =
        both != 0 && limit != 0 &&
        (both == -1 || read_cgroup_number(directory, "memory.limit_in_bytes").value_or(0) < static_cast<std::uint64_t>(both));
    const auto set_both = [&] {
        // -1 is what there is where the kernel does not count swap.
        const int error = both == 0 ? 0 : try_write_cgroup_file(directory, both_file, std::to_string(both));
        if (error != 0 && !(error == ENOENT && both == -1)) fail_cgroup_write(both_file, std::to_string(both), error);
    };
    if (both_first) set_both();
    if (limit != 0) set_limit(directory, limit);
    if (!both_first) set_both();

    if (reservation != 0) write_cgroup_file(directory, "memory.soft_limit_in_bytes", reservation);
    if (set_or_zero(memory.kernel_tcp) != 0) write_cgroup_file(directory, "memory.kmem.tcp.limit_in_bytes", *memory.kernel_tcp);
    if (memory.disable_oom_killer) write_cgroup_file(directory, "memory.oom_control", *memory.disable_oom_killer ? "1" : "0");
    if (memory.swappiness) {
        if (*memory.swappiness > 100) fail(ErrorKind::invalid_argument, "invalid memory swappiness {}: it is 0 to 100", *memory.swappiness);
        write_cgroup_file(directory, "memory.swappiness", std::to_string(*memory.swappiness));
    }
}

void apply_shares(int directory, std::uint64_t shares) {
    write_cgroup_file(directory, "cpu.shares", std::to_string(shares));
    // The kernel clamps without a word.
    const auto kept = read_cgroup_number(directory, "cpu.shares").value_or(shares);
    if (shares > kept) fail(ErrorKind::invalid_argument, "the maximum allowed cpu-shares is {}", kept);
    if (shares < kept) fail(ErrorKind::invalid_argument, "the minimum allowed cpu-shares is {}", kept);
}

void apply_cpu(const CpuResources& cpu, const FindDirectory& find) {
    const auto period = set_or_zero(cpu.period), shares = set_or_zero(cpu.shares), rt_period = set_or_zero(cpu.rt_period);
    const auto quota = set_or_zero(cpu.quota), rt_runtime = set_or_zero(cpu.rt_runtime);
    if (period == 0 && shares == 0 && quota == 0 && rt_period == 0 && rt_runtime == 0 && !cpu.burst && !cpu.idle) return;
    const int directory = find(controller::cpu, "cpu limit");

    // The kernel refuses a pair of period and runtime (quota, burst) that does not fit its parent at any moment; what it refuses
    // before the other half is written is tried again after it.
    const auto later = [&](const char* name, std::uint64_t value, bool may_wait) {
        const int error = try_write_cgroup_file(directory, name, std::to_string(value));
        if (error != 0 && !(error == EINVAL && may_wait)) fail_cgroup_write(name, std::to_string(value), error);
        return error != 0;
    };
    const bool rt_again = rt_period != 0 && later("cpu.rt_period_us", rt_period, rt_runtime != 0);
    if (rt_runtime != 0) write_cgroup_file(directory, "cpu.rt_runtime_us", rt_runtime);
    if (rt_again) later("cpu.rt_period_us", rt_period, false);

    if (shares != 0) apply_shares(directory, shares);
    const bool period_again = period != 0 && later("cpu.cfs_period_us", period, quota != 0);
    const bool burst_again =
        cpu.burst && ::faccessat(directory, "cpu.cfs_burst_us", F_OK, 0) == 0 && later("cpu.cfs_burst_us", *cpu.burst, quota != 0);
    if (quota != 0) write_cgroup_file(directory, "cpu.cfs_quota_us", quota);
    if (period_again) later("cpu.cfs_period_us", period, false);
    if (burst_again) later("cpu.cfs_burst_us", *cpu.burst, false);
    if (cpu.idle) write_cgroup_file(directory, "cpu.idle", *cpu.idle);
}

void apply_cpuset(const CpuResources& cpu, const FindDirectory& find) {
    if (cpu.cpus.empty() && cpu.mems.empty()) return;
    const int directory = find(controller::cpuset, "cpuset");
    if (!cpu.cpus.empty()) write_cgroup_file(directory, "cpuset.cpus", cpu.cpus);
    if (!cpu.mems.empty()) write_cgroup_file(directory, "cpuset.mems", cpu.mems);
}

void apply_block_io(const BlockIoResources& io, const FindDirectory& find) {
    const auto weight = set_or_zero(io.weight), leaf_weight = set_or_zero(io.leaf_weight);
    if (weight == 0 && leaf_weight == 0 && io.weight_device.empty() && io.throttle_read_bps.empty() && io.throttle_write_bps.empty() &&
        io.throttle_read_iops.empty() && io.throttle_write_iops.empty())
        return;
    const int directory = find(controller::io, "block I/O limit");
    // CFQ's file, or that of BFQ, which took its place in 5.0.
    const bool cfq = ::faccessat(directory, "blkio.weight", F_OK, 0) == 0;
    if (weight != 0) write_cgroup_file(directory, cfq ? "blkio.weight" : "blkio.bfq.weight", std::to_string(weight));
    if (leaf_weight != 0) write_cgroup_file(directory, "blkio.leaf_weight", std::to_string(leaf_weight));
    for (const auto& device : io.weight_device) {
        const auto line = [&](std::uint16_t value) { return fmt::format("{}:{} {}", device.major, device.minor, value); };
        if (set_or_zero(device.weight) != 0)
            write_cgroup_file(directory, cfq ? "blkio.weight_device" : "blkio.bfq.weight_device", line(*device.weight));
        if (set_or_zero(device.leaf_weight) != 0) write_cgroup_file(directory, "blkio.leaf_weight_device", line(*device.leaf_weight));
    }
    const auto throttle = [&](const char* name, const std::vector<ThrottleDevice>& devices) {
        for (const auto& device : devices)
            write_cgroup_file(directory, name, fmt::format("{}:{} {}", device.major, device.minor, device.rate));
    };
    throttle("blkio.throttle.read_bps_device", io.throttle_read_bps);
    throttle("blkio.throttle.write_bps_device", io.throttle_write_bps);
    throttle("blkio.throttle.read_iops_device", io.throttle_read_iops);
    throttle("blkio.throttle.write_iops_device", io.throttle_write_iops);
}

void apply_devices(const std::vector<DeviceRule>& rules, const FindDirectory& find) {
    const auto list = device_list(rules);
    const auto writes = device_writes_v1(list);
    const int directory = find(controller::devices, "device rules");
    // Opened once: Docker's default list is a dozen lines.
    const Fd allow{::openat(directory, "devices.allow", O_WRONLY | O_CLOEXEC)};
    const Fd deny{::openat(directory, "devices.deny", O_WRONLY | O_CLOEXEC)};
    if (!allow || !deny) fail_errno("open devices.allow and devices.deny");
    for (const auto& [allowed, line] : writes)
        if (::write(allowed ? allow.get() : deny.get(), line.data(), line.size()) < 0)
            fail_cgroup_write(allowed ? "devices.allow" : "devices.deny", line, errno);
}

}  // namespace

void apply_v1(const Resources& resources, const FindDirectory& find) {
    if (!resources.unified.empty())
        fail(ErrorKind::invalid_argument, "\"unified\" limits need cgroup v2, and this machine's controllers are on v1");
    if (resources.devices) apply_devices(*resources.devices, find);
    apply_memory(resources.memory, find);
    apply_cpu(resources.cpu, find);
    apply_cpuset(resources.cpu, find);
    if (resources.pids_limit)
        write_cgroup_file(find(controller::pids, "pids limit"), "pids.max",
                          *resources.pids_limit > 0 ? std::to_string(*resources.pids_limit) : "max");
    apply_block_io(resources.block_io, find);
    for (const auto& [size, limit] : resources.hugepage_limits) {
        const int directory = find(controller::hugetlb, "hugepage limit");
        write_cgroup_file(directory, fmt::format("hugetlb.{}.limit_in_bytes", size).c_str(), std::to_string(limit));
        const auto reserved = fmt::format("hugetlb.{}.rsvd.limit_in_bytes", size);
        const int error = try_write_cgroup_file(directory, reserved.c_str(), std::to_string(limit));
        if (error != 0 && error != ENOENT) fail_cgroup_write(reserved.c_str(), std::to_string(limit), error);
    }
    for (const auto& [device, limit] : resources.rdma)
        write_cgroup_file(find(controller::rdma, "RDMA limit"), "rdma.max", rdma_line(device, limit));
    if (set_or_zero(resources.network_class_id) != 0)
        write_cgroup_file(find(controller::net_cls, "network class"), "net_cls.classid", std::to_string(*resources.network_class_id));
    for (const auto& [name, priority] : resources.network_priorities)
        write_cgroup_file(find(controller::net_prio, "network priority"), "net_prio.ifpriomap", fmt::format("{} {}", name, priority));
}

}  // namespace grua::linux::detail
