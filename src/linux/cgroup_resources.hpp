// The limits of a container, as the OCI runtime specification has them (config-linux.md, from #allowed-device-list to #unified).
// A member that is not set is left as it is.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace grua::linux {

struct DeviceRule {
    bool allow = false;
    char type = 'a';                    ///< 'a', 'c' or 'b'.
    std::optional<std::int64_t> major;  ///< Not set, or negative: all.
    std::optional<std::int64_t> minor;
    std::string access;  ///< Of "rwm"; empty is all.

    bool operator==(const DeviceRule&) const = default;
};

struct MemoryResources {
    std::optional<std::int64_t> limit;        ///< Bytes, -1: none.
    std::optional<std::int64_t> reservation;  ///< Soft limit.
    std::optional<std::int64_t> swap;         ///< Memory and swap together; -1: no limit on swap.
    std::optional<std::int64_t> kernel;       ///< Accepted and ignored: the kernel no longer has it.
    std::optional<std::int64_t> kernel_tcp;   ///< v1 only.
    std::optional<std::uint64_t> swappiness;  ///< 0..100, v1 only.
    std::optional<bool> disable_oom_killer;   ///< v1 only.
    std::optional<bool> use_hierarchy;        ///< v1; modern kernels have only true.
    std::optional<bool> check_before_update;  ///< Refuse a limit below what is used now.
};

struct CpuResources {
    std::optional<std::uint64_t> shares;     ///< 2..262144, 1024 is usual.
    std::optional<std::int64_t> quota;       ///< Microseconds in a period; <= 0: none.
    std::optional<std::uint64_t> period;     ///< Microseconds.
    std::optional<std::uint64_t> burst;      ///< Microseconds.
    std::optional<std::int64_t> rt_runtime;  ///< v1 only.
    std::optional<std::uint64_t> rt_period;  ///< v1 only.
    std::optional<std::int64_t> idle;        ///< 0 or 1: SCHED_IDLE for the cgroup.
    std::string cpus;                        ///< "0-2,7"; empty: not set.
    std::string mems;
};

struct WeightDevice {
    std::int64_t major = 0;
    std::int64_t minor = 0;
    std::optional<std::uint16_t> weight;
    std::optional<std::uint16_t> leaf_weight;
};

struct ThrottleDevice {
    std::int64_t major = 0;
    std::int64_t minor = 0;
    std::uint64_t rate = 0;  ///< Bytes or operations in a second; 0: none.
};

struct BlockIoResources {
    std::optional<std::uint16_t> weight;  ///< 10..1000; 0: not set.
    std::optional<std::uint16_t> leaf_weight;
    std::vector<WeightDevice> weight_device;
    std::vector<ThrottleDevice> throttle_read_bps, throttle_write_bps, throttle_read_iops, throttle_write_iops;
};

struct HugepageLimit {
    std::string page_size;  ///< "2MB".
    std::uint64_t limit = 0;
};

struct RdmaLimit {
    std::optional<std::uint32_t> hca_handles, hca_objects;
};

struct NetworkPriority {
    std::string name;
    std::uint32_t priority = 0;
};

struct Resources {
    /// Not set: the cgroup's rules stay. The list is the whole truth: what no rule allows is denied.
    std::optional<std::vector<DeviceRule>> devices;
    MemoryResources memory;
    CpuResources cpu;
    std::optional<std::int64_t> pids_limit;  ///< <= 0: none.
    BlockIoResources block_io;
    std::vector<HugepageLimit> hugepage_limits;
    std::map<std::string, RdmaLimit> rdma;
    std::optional<std::uint32_t> network_class_id;    ///< v1 only.
    std::vector<NetworkPriority> network_priorities;  ///< v1 only.
    std::map<std::string, std::string> unified;       ///< v2 only: file -> text, written as it is.
};

/// What every container may do with devices whatever its specification says (config-linux.md#default-devices): use the
/// default ones and pseudo terminals, make any node. To be put after the specification's rules.
const std::vector<DeviceRule>& default_device_rules();

// ---- Between the generations' units; pure. ----

/// cpu.shares (2..262144) to cpu.weight (1..10000) so that 1024 gives 100 and the ends meet; 0 (not set) stays 0.
std::uint64_t weight_from_shares(std::uint64_t shares) noexcept;

/// blkio.weight (10..1000) to io.weight (1..10000); 0 stays 0.
std::uint64_t io_weight_from_blkio(std::uint16_t weight) noexcept;

/// OCI's swap (memory + swap) to memory.swap.max (swap alone); -1 is "max", nothing is "leave". Throws Error(invalid_argument)
/// where the two cannot be: a swap limit without a memory limit, or below it.
std::optional<std::int64_t> swap_alone(std::optional<std::int64_t> memory, std::optional<std::int64_t> memory_and_swap);

}  // namespace grua::linux
