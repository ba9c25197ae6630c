#include "network/sandbox_pool.hpp"

#include "base/id.hpp"
#include "base/log.hpp"
#include "linux/mounts.hpp"
#include "linux/netns.hpp"
#include "network/bridge.hpp"

#include <pthread.h>
#include <algorithm>
#include <vector>

namespace grua::network {

namespace {

using namespace std::chrono_literals;

// The kernel's locks are shared with the start that took the last one: let it finish, unless the pool runs low. The dearest is that of all
// file systems, held for 3 ms while a sysfs is looked for among those of 1,000 containers; a start mounts a dozen.
constexpr auto refill_delay = 50ms;
constexpr auto idle_time = 30s;
constexpr auto retry_delay = 1s;
// A mount of proc keeps the names of each namespace's "eth0" in one chain for as long as that lives.
constexpr int sandboxes_by_one_proc = 32;

}  // namespace

SandboxPool::SandboxPool(SandboxPoolOptions options) : options_(options), want_(options.ready) {
    thread_ = std::jthread([this](const std::stop_token& stop) {
        ::pthread_setname_np(::pthread_self(), "sandbox-pool");
        refill(stop);
    });
}

SandboxPool::~SandboxPool() {
    thread_.request_stop();
    thread_.join();
}

ReadySandbox SandboxPool::take(const Destination& destination) {
    MutexLock lock(mutex_);
    next_bridge_ = destination.is_crowded && destination.mtu == options_.mtu ? destination.bridge : 0;
    last_take_ = Clock::now();
    if (ready_.empty()) {
        if (options_.ready > 0) want_ = std::min(std::max(options_.most, options_.ready), want_ * 2);
        const std::size_t failures_before = failures_;
        ++waiting_;
        changed_.notify_all();
        changed_.wait(lock, [&]() GRUA_REQUIRES(mutex_) { return ended_ || !ready_.empty() || failures_ != failures_before; });
        --waiting_;
        if (ready_.empty()) {
            if (failure_) throw Error(*failure_);
            fail(ErrorKind::unavailable, "network: shutting down");
        }
    }
    auto best = std::ranges::find(ready_, destination.bridge, &ReadySandbox::bridge);
    if (best == ready_.end()) best = std::ranges::find(ready_, 0, &ReadySandbox::bridge);
    if (best == ready_.end()) best = ready_.begin();
    ReadySandbox sandbox = std::move(*best);
    ready_.erase(best);
    changed_.notify_all();
    return sandbox;
}

bool SandboxPool::leave(int bridge) {
    const MutexLock lock(mutex_);
    if (next_bridge_ == bridge) next_bridge_ = 0;
    linux::NetlinkBatch batch;
    for (ReadySandbox& each : ready_) {
        if (each.bridge != bridge) continue;
        batch.change_link(each.link, {.master = 0});
        each.bridge = 0;
    }
    if (batch.empty()) return false;
    linux::Netlink().run(batch);
    return true;
}

bool SandboxPool::wanted(Clock::time_point now) const {
    if (waiting_ > ready_.size()) return true;
    if (ready_.size() >= want_) return false;
    return ready_.size() <= want_ / 2 || now >= last_take_ + refill_delay;
}

/// Those that are too many now; to be closed without the lock.
std::vector<ReadySandbox> SandboxPool::shrink() {
    want_ = options_.ready;
    std::vector<ReadySandbox> surplus;
    while (ready_.size() > want_) {
        surplus.push_back(std::move(ready_.back()));
        ready_.pop_back();
    }
    return surplus;
}

void SandboxPool::refill(const std::stop_token& stop) {
    MutexLock lock(mutex_);
    while (!stop.stop_requested()) {
        const auto now = Clock::now();
        if (!wanted(now)) {
            const bool full = ready_.size() >= want_;
            if (full && want_ > options_.ready && now >= last_take_ + idle_time) {
                std::vector<ReadySandbox> surplus = shrink();
                lock.unlock();
                surplus.clear();
                lock.lock();
                continue;
            }
            const auto woken = [&]() GRUA_REQUIRES(mutex_) { return (ready_.size() >= want_) != full || wanted(Clock::now()); };
            if (!full) {
                changed_.wait_until(lock, stop, last_take_ + refill_delay, woken);
            } else if (want_ > options_.ready) {
                changed_.wait_until(lock, stop, last_take_ + idle_time, woken);
            } else {
                changed_.wait(lock, stop, woken);
            }
            continue;
        }
        const int bridge = next_bridge_;
        lock.unlock();
        try {
            ReadySandbox made = make(bridge);
            lock.lock();
            ready_.push_back(std::move(made));
        } catch (const Error& error) {
            lock.lock();
            if (waiting_ == 0) log::warn("make a network sandbox ahead: {}", error.what());
            failure_ = error;
            ++failures_;
            changed_.notify_all();
            changed_.wait_for(lock, stop, retry_delay, [&]() GRUA_REQUIRES(mutex_) { return waiting_ > 0; });
        }
        changed_.notify_all();
    }
    ended_ = true;
    changed_.notify_all();
}

ReadySandbox SandboxPool::make(int bridge) {
    if (!kernel_ || made_ % sandboxes_by_one_proc == 0) kernel_.emplace();
    ++made_;
    ReadySandbox sandbox = [&] {
        const linux::NetnsVisit visit{linux::NetnsVisit::New{}};
        // "veth…", as DHCP clients and network managers are told to leave alone; whose it is its alias says.
        ReadySandbox inner{
            .link = "veth" + random_hex(5),
            .netns = linux::NetnsVisit::current(),
            // To make the first one of a namespace the kernel walks those of all others; the container's own is this one then.
            .sysfs = linux::hold_filesystem("sysfs"),
            .inside = linux::Netlink(),
            .mtu = options_.mtu};
        linux::NetlinkBatch pair;
        pair.create_veth({.name = inner.link, .peer_name = "eth0", .peer_netns = inner.netns.get(), .mtu = options_.mtu});
        host_.run(pair);
        const auto eth0 = inner.inside.link("eth0");
        if (!eth0) fail(ErrorKind::system, "eth0 of {} vanished", inner.link);
        inner.eth0 = eth0->index;
        set_ipv6(*kernel_, "eth0", false);
        linux::NetlinkBatch up;
        up.change_link("lo", {.up = true});
        up.change_link("eth0", {.up = true});
        inner.inside.run(up);
        return inner;
    }();
    // Up without an address or a bridge it leads nowhere, and its carrier is there when it becomes a port.
    set_ipv6(*kernel_, sandbox.link, false);
    linux::NetlinkBatch up;
    up.change_link(sandbox.link, {.up = true});
    host_.run(up);
    if (bridge == 0) return sandbox;
    try {
        linux::NetlinkBatch join;
        join.change_link(sandbox.link, {.master = bridge});
        host_.run(join);
        sandbox.bridge = bridge;
    } catch (const Error& error) {
        // The bridge is full, or gone: it joins another.
        log::debug("make a network sandbox ahead: {}", error.what());
    }
    return sandbox;
}

}  // namespace grua::network
