#include "api/progress.hpp"

#include "base/fd.hpp"
#include "base/mutex.hpp"

#include <fcntl.h>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/concurrent_channel.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json.hpp>
#include <deque>
#include <map>

namespace grua::api {
namespace {

using boost::json::object;

constexpr int pipe_size = 1 << 20;
constexpr std::size_t piece_size = std::size_t{256} << 10U;

constexpr auto quiet = asio::as_tuple(asio::use_awaitable);

std::string line_of(const object& value) { return boost::json::serialize(value) + "\r\n"; }

std::string bar_line(const engine::Progress& progress) {
    object detail;
    if (progress.total > 0 || progress.current > 0) {
        detail["current"] = progress.current;
        if (progress.total > 0) detail["total"] = progress.total;
    }
    object out{{"status", progress.status}, {"progressDetail", detail}};
    if (!progress.id.empty()) out["id"] = progress.id;
    return line_of(out);
}

std::string text_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& thrown) {
        return thrown.what();
    }
}

}  // namespace

std::string error_line(std::string_view text) { return line_of({{"errorDetail", object{{"message", text}}}, {"error", text}}); }

struct ProgressStream::State {
    explicit State(const asio::any_io_executor& loop) : wake(loop, 1) {}

    Mutex mutex;
    std::deque<std::string> lines GRUA_GUARDED_BY(mutex);
    std::map<std::string, std::size_t> bars GRUA_GUARDED_BY(mutex);  // ID → its place in `lines`, while it waits there
    std::exception_ptr error GRUA_GUARDED_BY(mutex);
    bool closed GRUA_GUARDED_BY(mutex) = false;
    asio::experimental::concurrent_channel<void(boost::system::error_code)> wake;
};

ProgressStream::ProgressStream(const asio::any_io_executor& loop) : state_(std::make_shared<State>(loop)) {}
ProgressStream::~ProgressStream() = default;

void ProgressStream::bar(const engine::Progress& progress) {
    {
        const MutexLock lock{state_->mutex};
        // A bar that was not sent yet is replaced by the newer one.
        const auto waiting = state_->bars.find(progress.id);
        if (progress.total > 0 && waiting != state_->bars.end()) {
            state_->lines[waiting->second] = bar_line(progress);
        } else {
            if (progress.total > 0) {
                state_->bars[progress.id] = state_->lines.size();
            } else {
                state_->bars.erase(progress.id);
            }
            state_->lines.push_back(bar_line(progress));
        }
    }
    state_->wake.try_send(boost::system::error_code{});
}

void ProgressStream::line(std::string text) {
    {
        const MutexLock lock{state_->mutex};
        state_->lines.push_back(std::move(text));
    }
    state_->wake.try_send(boost::system::error_code{});
}

// The lines as Docker's clients read them.

void ProgressStream::status(const std::string& id, const std::string& status) {
    object out{{"status", status}};
    if (!id.empty()) out["id"] = id;
    line(line_of(out));
}

void ProgressStream::text(const std::string& line_text) { line(line_of({{"stream", line_text + "\n"}})); }

void ProgressStream::pushed(const std::string& tag, const engine::PushResult& what) {
    const object value{{"Tag", tag}, {"Digest", what.digest.text()}, {"Size", what.size}};
    line(line_of({{"progressDetail", object{}}, {"aux", value}}));
}

void ProgressStream::close(std::exception_ptr error) {
    {
        const MutexLock lock{state_->mutex};
        state_->closed = true;
        state_->error = std::move(error);
    }
    state_->wake.try_send(boost::system::error_code{});
}

asio::awaitable<void> ProgressStream::write_to(Exchange& exchange) {
    const auto state = state_;
    for (;;) {
        std::deque<std::string> lines;
        std::exception_ptr error;
        bool closed = false;
        {
            const MutexLock lock{state->mutex};
            lines.swap(state->lines);
            state->bars.clear();
            closed = state->closed;
            error = std::exchange(state->error, nullptr);  // one thread's alone: it ends where it is looked at
        }
        if (!lines.empty() && !exchange.begun()) co_await exchange.begin(200, "application/json");
        std::string text;
        for (const std::string& line : lines) text += line;
        if (!text.empty()) co_await exchange.write(text);
        if (closed) {
            if (!error) co_return;
            if (!exchange.begun()) std::rethrow_exception(error);
            co_await exchange.write(error_line(text_of(error)));
            co_return;
        }
        static_cast<void>(co_await state->wake.async_receive(quiet));
    }
}

asio::awaitable<void> stream(Transfers& transfers, Exchange& exchange, bool leaving_stops,
                             std::function<void(const Say&, const std::stop_token&)> work) {
    const auto say = std::make_shared<ProgressStream>(co_await asio::this_coro::executor);
    auto run = [say, work = std::move(work)](const std::stop_token& stop) {
        std::exception_ptr error;
        try {
            work(say, stop);
        } catch (...) {
            error = std::current_exception();
        }
        say->close(std::move(error));
    };
    struct StopAtEnd {
        std::stop_source source;
        ~StopAtEnd() { source.request_stop(); }
    } const guard{transfers.start(std::move(run))};
    if (leaving_stops) exchange.cancel_when_client_leaves();
    co_await say->write_to(exchange);
    if (!exchange.begun()) co_await exchange.begin(200, "application/json");
    co_await exchange.end();
}

asio::awaitable<void> stream(Transfers& transfers, Exchange& exchange, bool leaving_stops, engine::Transfer transfer) {
    auto work = [transfer = std::move(transfer)](const Say& say, const std::stop_token& stop) { transfer(*say, stop); };
    return stream(transfers, exchange, leaving_stops, std::function<void(const Say&, const std::stop_token&)>(std::move(work)));
}

asio::awaitable<void> send_written(const asio::any_io_executor& loop, Transfers& transfers, Exchange& exchange,
                                   std::string_view content_type, std::function<void(int fd)> work) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) fail_errno("pipe");
    asio::posix::stream_descriptor out{loop, ends[0]};
    const auto in = std::make_shared<Fd>(ends[1]);
    static_cast<void>(::fcntl(ends[1], F_SETPIPE_SZ, pipe_size));  // smaller where the user's share is used up
    struct Outcome {
        Mutex mutex;
        std::exception_ptr error GRUA_GUARDED_BY(mutex);
    };
    const auto outcome = std::make_shared<Outcome>();
    transfers.start([in, outcome, work = std::move(work)](const std::stop_token&) {
        try {
            work(in->get());
        } catch (...) {
            const MutexLock lock{outcome->mutex};
            outcome->error = std::current_exception();
        }
        *in = Fd{};
    });
    std::vector<char> piece(piece_size);
    for (;;) {
        const auto [end, size] = co_await out.async_read_some(asio::buffer(piece), quiet);
        if (end) break;
        if (!exchange.begun()) co_await exchange.begin(200, content_type);
        co_await exchange.write({piece.data(), size});
    }
    std::exception_ptr error;
    {
        const MutexLock lock{outcome->mutex};
        error = std::exchange(outcome->error, nullptr);
    }
    if (error) std::rethrow_exception(error);
    if (!exchange.begun()) co_await exchange.begin(200, content_type);
    co_await exchange.end();
}

}  // namespace grua::api
