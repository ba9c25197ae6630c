// Work that takes minutes - downloads, uploads, archives - on threads of its own, so that the pool stays free for what takes
// milliseconds; and its progress on the way to the client.
#pragma once

#include "api/exchange.hpp"
#include "base/fd.hpp"
#include "images/image_store.hpp"

#include <boost/asio/experimental/concurrent_channel.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json/object.hpp>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

namespace grua::api {

class Transfers {
public:
    using Work = std::function<void(const std::stop_token&)>;
    ~Transfers() { stop(); }

    /// Tells all to stop and waits for them.
    void stop();

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
    std::mutex mutex_;
    std::list<Running> running_;
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
    std::stop_source source = start([outcome, work = std::move(work)](const std::stop_token& stop) mutable {
        try {
            outcome->result.emplace(work(stop));
        } catch (...) {
            outcome->error = std::current_exception();
        }
        outcome->done.try_send(boost::system::error_code{});
    });
    struct Guard {
        std::stop_source& source;
        ~Guard() { source.request_stop(); }
    } const guard{source};
    co_await outcome->done.async_receive(asio::use_awaitable);
    if (outcome->error) std::rethrow_exception(outcome->error);
    co_return std::move(*outcome->result);
}

/// Lines from a transfer's thread to its answer. A client that reads slowly gets fewer bars, and every line; it slows nothing.
class ProgressStream {
public:
    explicit ProgressStream(const asio::any_io_executor& loop);
    ~ProgressStream();

    // From any thread.
    void bar(const images::Progress& progress);
    void line(std::string text);
    void aux(const boost::json::object& value);
    void close(std::exception_ptr error);

    /// Writes what comes until close(), beginning the answer with the first line; throws the error if nothing was written
    /// before it, else writes it as the stream's last line.
    asio::awaitable<void> write_to(Exchange& exchange);

private:
    struct State;
    std::shared_ptr<State> state_;
};

/// {"stream":…}, {"status":…,"id":…}, {"aux":…} and the error's line, as Docker's clients read them.
std::string stream_line(const std::string& text);
std::string status_line(const std::string& id, const std::string& status);

/// What `work` writes to the descriptor becomes the answer's body. An error before the first byte is the answer; a later one
/// breaks the connection, so that the client knows that it has not everything.
asio::awaitable<void> send_written(const asio::any_io_executor& loop, Transfers& transfers, Exchange& exchange,
                                   std::string_view content_type, std::function<void(int fd)> work);

}  // namespace grua::api
