// Work that lasts as long as a client, a registry or a disk likes - downloads, uploads, archives - on threads of its own, so
// that the pool stays free for what takes milliseconds.
//
// What `work` holds ends in its thread, before whoever waits comes back. Thread-safe; outlives all that it runs.
#pragma once

#include "base/async.hpp"
#include "base/mutex.hpp"

#include <boost/asio/experimental/concurrent_channel.hpp>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <stop_token>
#include <thread>
#include <type_traits>
#include <utility>

namespace grua {

class Transfers {
public:
    using Work = std::function<void(const std::stop_token&)>;
    ~Transfers() = default;

    /// Tells all to stop and waits for them. False where some did not end in time.
    bool stop(std::chrono::milliseconds patience);

    /// Throws unavailable where too many run.
    std::stop_source start(Work work);

    /// What `work` gives, when it does; runs on where the coroutine is cancelled, and is told to stop.
    template <typename Function>
    auto call(asio::any_io_executor loop, Function work) -> asio::awaitable<std::invoke_result_t<Function&, const std::stop_token&>>;

private:
    struct Running {
        std::jthread thread;
        std::shared_ptr<bool> done;
    };
    void forget_ended() GRUA_REQUIRES(mutex_);

    Mutex mutex_;
    std::condition_variable_any ended_;
    std::list<Running> running_ GRUA_GUARDED_BY(mutex_);  // last: the threads use the others
};

template <typename Function>
auto Transfers::call(asio::any_io_executor loop, Function work)
    -> asio::awaitable<std::invoke_result_t<Function&, const std::stop_token&>> {
    using Result = std::invoke_result_t<Function&, const std::stop_token&>;
    struct Outcome {
        explicit Outcome(const asio::any_io_executor& on) : done(on, 1) {}
        std::optional<Result> result;
        std::exception_ptr error;
        asio::experimental::concurrent_channel<void(boost::system::error_code)> done;
    };
    const auto outcome = std::make_shared<Outcome>(loop);
    auto run = [outcome, work = std::make_shared<std::optional<Function>>(std::move(work))](const std::stop_token& stop) {
        try {
            outcome->result.emplace((**work)(stop));
        } catch (...) {
            outcome->error = std::current_exception();
        }
        work->reset();
        outcome->done.try_send(boost::system::error_code{});
    };
    std::stop_source source = start(std::move(run));
    struct Guard {
        std::stop_source& source;
        ~Guard() { source.request_stop(); }
    } const guard{source};
    co_await outcome->done.async_receive(asio::use_awaitable);
    if (outcome->error) std::rethrow_exception(std::exchange(outcome->error, nullptr));
    co_return std::move(*outcome->result);
}

}  // namespace grua
