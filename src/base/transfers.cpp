#include "base/transfers.hpp"

#include "base/error.hpp"
#include "base/thread.hpp"

#include <malloc.h>
#include <algorithm>
#include <atomic>

namespace grua {
namespace {

constexpr std::size_t limit = 1000;

/// Gives memory back that was freed. One thread does it for all that want it meanwhile: it takes the locks of everybody's heap.
void trim() {
    static std::atomic<std::size_t> wanted{0};
    if (wanted.fetch_add(1) != 0) return;
    std::size_t done = 0;
    do {
        done = wanted.load();
        ::malloc_trim(0);
    } while (!wanted.compare_exchange_strong(done, 0));
}

}  // namespace

/// A thread that says that it is done waits for nobody any more.
void Transfers::forget_ended() {
    std::erase_if(running_, [](const Running& each) { return *each.done; });
}

bool Transfers::stop(std::chrono::milliseconds patience) {
    MutexLock lock{mutex_};
    for (Running& each : running_) each.thread.request_stop();
    const auto have_ended = [&]() GRUA_REQUIRES(mutex_) {
        return std::ranges::all_of(running_, [](const Running& each) { return *each.done; });
    };
    const bool all = ended_.wait_for(lock, patience, have_ended);
    if (all) forget_ended();
    return all;
}

std::stop_source Transfers::start(Work work) {
    const MutexLock lock{mutex_};
    forget_ended();
    if (running_.size() >= limit) fail(ErrorKind::unavailable, "too many transfers are under way");
    const auto done = std::make_shared<bool>(false);
    auto run = [this, done, work = std::move(work)](const std::stop_token& stop) mutable {
        work(stop);
        work = {};
        trim();  // it had much for long, and the next to need that may be another thread
        const MutexLock finished{mutex_};
        *done = true;
        ended_.notify_all();
    };
    auto thread = start_thread<std::jthread>(std::move(run));
    return running_.emplace_back(std::move(thread), done).thread.get_stop_source();
}

}  // namespace grua
