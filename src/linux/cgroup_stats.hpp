// What a cgroup has used, in one form for both generations: the numbers behind Docker's stats.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::linux {

struct CpuStats {
    std::uint64_t usage_ns = 0, user_ns = 0, system_ns = 0;
    std::vector<std::uint64_t> per_cpu_ns;  ///< v1 only.
    std::uint64_t periods = 0, throttled_periods = 0, throttled_ns = 0;
};

struct MemoryStats {
    std::uint64_t usage = 0;
    std::uint64_t max_usage = 0;                  ///< 0 where the kernel does not keep it (v2 before 5.19).
    std::uint64_t failures = 0;                   ///< v1 memory.failcnt; v2: "max" of memory.events.
    std::optional<std::uint64_t> limit;           ///< Nothing: no limit.
    std::uint64_t swap_usage = 0;                 ///< Swap alone.
    std::map<std::string, std::uint64_t> detail;  ///< memory.stat.
};

struct PidsStats {
    std::uint64_t current = 0;
    std::optional<std::uint64_t> limit;
};

struct IoEntry {
    std::uint64_t major = 0, minor = 0;
    std::string op;  ///< "Read", "Write", "Sync", "Async", "Discard", "Total" on v1; "read", "write" on v2, as Docker shows them.
    std::uint64_t value = 0;

    bool operator==(const IoEntry&) const = default;
};

struct IoStats {
    std::vector<IoEntry> service_bytes, serviced;
};

struct CgroupStats {
    CpuStats cpu;
    MemoryStats memory;
    PidsStats pids;
    IoStats io;
};

struct MemoryEvents {
    std::uint64_t oom = 0;       ///< Allocations that found the limit and nothing to reclaim; v1 tells only kills.
    std::uint64_t oom_kill = 0;  ///< Processes that the kernel killed for it.
};

// ---- The files' texts; pure. ----

/// "name value" lines ("cpu.stat", "memory.stat", "memory.events"); lines of another shape are skipped.
std::map<std::string, std::uint64_t> parse_flat_keyed(std::string_view text);

/// v1 blkio.throttle.*: "8:0 Read 123".
std::vector<IoEntry> parse_blkio(std::string_view text);

/// v2 io.stat: "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0".
IoStats parse_io_stat(std::string_view text);

}  // namespace grua::linux
