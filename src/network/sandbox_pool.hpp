// Ready sandboxes: network namespaces with lo and eth0 up, their sysfs, and the other end of eth0 up beside the bridge.
// Making one costs the kernel about a millisecond, so it is done behind, by one thread - the only one that ever changes
// its network namespace. What is in the pool hangs on descriptors of this process and is gone with them.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/mutex.hpp"
#include "linux/netlink.hpp"
#include "linux/sysctls.hpp"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

namespace grua::network {

struct ReadySandbox {
    std::string link;  ///< The host's end of the pair.
    Fd netns;
    Fd sysfs;               ///< Keeps that namespace's.
    linux::Netlink inside;  ///< Speaks in that namespace.
    int eth0 = 0;           ///< Index of its eth0.
    unsigned mtu = 0;
    int bridge = 0;  ///< That the host's end is a port of already; 0: of none.
};

/// Where a sandbox is needed.
struct Destination {
    int bridge = 0;
    unsigned mtu = 0;
    bool is_crowded = false;  ///< It has many ports: the kernel walks all of them for one more, so the next ones join it ahead, too.
};

struct SandboxPoolOptions {
    std::size_t ready = 0;  ///< Kept when idle.
    std::size_t most = 0;   ///< Kept at most, while demand is high.
    unsigned mtu = 0;
};

class SandboxPool {
public:
    /// The calling thread's network namespace is the host's.
    explicit SandboxPool(SandboxPoolOptions options);
    SandboxPool(const SandboxPool&) = delete;
    SandboxPool& operator=(const SandboxPool&) = delete;
    ~SandboxPool();

    /// From the pool, or a fresh one as soon as it is made. Throws what making it threw, or unavailable at the end.
    ReadySandbox take(const Destination& destination);

    /// Those that are ports of the bridge already leave it; whether there were any.
    bool leave(int bridge);

private:
    using Clock = std::chrono::steady_clock;

    void refill(const std::stop_token& stop);
    bool wanted(Clock::time_point now) const GRUA_REQUIRES(mutex_);
    std::vector<ReadySandbox> shrink() GRUA_REQUIRES(mutex_);
    ReadySandbox make(int bridge);

    SandboxPoolOptions options_;
    linux::Netlink host_;

    Mutex mutex_;
    std::condition_variable_any changed_;
    std::deque<ReadySandbox> ready_ GRUA_GUARDED_BY(mutex_);
    std::size_t want_ GRUA_GUARDED_BY(mutex_);
    std::size_t waiting_ GRUA_GUARDED_BY(mutex_) = 0;
    std::size_t failures_ GRUA_GUARDED_BY(mutex_) = 0;
    std::optional<Error> failure_ GRUA_GUARDED_BY(mutex_);
    bool ended_ GRUA_GUARDED_BY(mutex_) = false;
    int next_bridge_ GRUA_GUARDED_BY(mutex_) = 0;  ///< That the next ones join ahead.
    Clock::time_point last_take_ GRUA_GUARDED_BY(mutex_){};

    // The thread's.
    std::optional<linux::Sysctls> kernel_;
    unsigned made_ = 0;
    std::jthread thread_;
};

}  // namespace grua::network
