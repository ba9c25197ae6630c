// What a container uses at one moment: the numbers behind `docker stats`.
#pragma once

#include "base/text.hpp"
#include "linux/cgroup_stats.hpp"
#include "network/networks.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace grua::engine {

struct InterfaceStats {
    std::uint64_t rx_bytes = 0, rx_packets = 0, rx_errors = 0, rx_dropped = 0;
    std::uint64_t tx_bytes = 0, tx_packets = 0, tx_errors = 0, tx_dropped = 0;
    /// Where its rate is limited.
    std::optional<network::LimitCounters> rx_limit, tx_limit;
};

struct StatsSample {
    Time read{};
    bool running = false;  ///< Where false all numbers are 0, as Docker sends them.
    linux::CgroupStats cgroup;
    std::uint64_t system_cpu_ns = 0;  ///< Of the whole host since boot, from /proc/stat.
    unsigned online_cpus = 0;
    std::uint64_t memory_limit = 0;                    ///< The container's, or the host's memory where it has none.
    std::map<std::string, InterfaceStats> interfaces;  ///< Without lo; empty for the host's network.
};

/// /proc/<pid>/net/dev as text; pure.
std::map<std::string, InterfaceStats> parse_net_dev(std::string_view text);

}  // namespace grua::engine
