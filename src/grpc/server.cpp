#include "grpc/server.hpp"

#include "base/encoding.hpp"
#include "base/log.hpp"
#include "base/utf8.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <list>

namespace grua::grpc {
namespace {

constexpr std::string_view content_type = "application/grpc";
constexpr std::size_t said_limit = std::size_t{16} << 10U;  ///< Of a status; some have text in them that somebody else wrote.

Headers status_fields(const Status& status) {
    Headers out{{"grpc-status", fmt::format("{}", static_cast<int>(status.code))}};
    if (!status.message.empty()) out.emplace_back("grpc-message", encode_message(cut_utf8(status.message, said_limit)));
    if (!status.details.empty()) out.emplace_back("grpc-status-details-bin", base64_encode(status.details));
    return out;
}

bool is_grpc(const Headers& request) {
    const std::string_view type = header(request, "content-type");
    if (!type.starts_with(content_type)) return false;
    const std::string_view rest = type.substr(content_type.size());
    return rest.empty() || rest.front() == '+' || rest.front() == ';';
}

}  // namespace

asio::awaitable<std::optional<std::string>> ServerCall::read() {
    for (;;) {
        auto message = reader_.next();
        stream_->hold(reader_.held());
        if (message) co_return message;
        const std::string bytes = co_await stream_->read();
        if (bytes.empty()) {
            if (reader_.has_part())
                throw CallError({.code = Code::internal, .message = "the request ends within a message", .details = {}});
            co_return std::nullopt;
        }
        reader_.add(bytes);
    }
}

asio::awaitable<std::string> ServerCall::read_only() {
    auto message = co_await read();
    if (!message) throw CallError({.code = Code::internal, .message = "the request has no message", .details = {}});
    if (co_await read()) throw CallError({.code = Code::internal, .message = "the request has more than one message", .details = {}});
    co_return std::move(*message);
}

void ServerCall::begin(Headers more) {
    more.insert(more.begin(), {{":status", "200"}, {"content-type", std::string(content_type)}});
    stream_->answer(more);
}

asio::awaitable<void> ServerCall::write(std::string_view message) {
    begin();
    co_await stream_->write(frame(message));
}

void ServerCall::finish(const Status& status) {
    Headers fields = status_fields(status);
    if (stream_->is_answered()) return stream_->end(std::move(fields));
    fields.insert(fields.begin(), {{":status", "200"}, {"content-type", std::string(content_type)}});
    stream_->answer_and_end(fields);
}

struct Services::Running {
    Running(const asio::any_io_executor& loop, StreamPtr taken) : stream(taken), call(std::move(taken)), deadline(loop) {}
    StreamPtr stream;
    ServerCall call;
    asio::cancellation_signal cancel;
    asio::steady_timer deadline;
    bool is_late = false;
    bool has_ended = false;
};

struct Services::Connection {
    explicit Connection(const asio::any_io_executor& loop) : changed(loop) {}
    Condition changed;
    std::size_t running = 0;
};

const Handler& Services::find(const Headers& request) const {
    const std::string_view path = header(request, ":path");
    const auto found = handlers_.find(path);
    if (found == handlers_.end())
        throw CallError({.code = Code::unimplemented, .message = fmt::format("not implemented: {}", path), .details = {}});
    return found->second;
}

asio::awaitable<void> Services::handle(std::shared_ptr<Running> running) const {
    Status status;
    try {
        co_await find(running->stream->headers())(running->call);
    } catch (const std::exception& error) {
        status = status_of(error);
    }
    if (running->is_late) status = {.code = Code::deadline_exceeded, .message = "the call's time is over", .details = {}};
    running->has_ended = true;
    running->deadline.cancel();
    try {
        running->call.finish(status);
    } catch (const Error& error) {
        log::info("{}: {}", running->call.method(), error.what());
        running->stream->reset(Reset::internal);
    }
}

asio::awaitable<void> Services::serve(asio::any_io_executor loop, std::unique_ptr<Transport> transport) const {
    const auto connection = std::make_shared<Connection>(loop);
    const auto cancel = [](const std::weak_ptr<Running>& weak) {
        const auto running = weak.lock();
        if (running && !running->has_ended) running->cancel.emit(asio::cancellation_type::terminal);
    };
    const auto accept = [this, loop, connection, cancel](const StreamPtr& stream) {
        if (header(stream->headers(), ":method") != "POST") return stream->answer_and_end({{":status", "405"}});
        if (!is_grpc(stream->headers())) return stream->answer_and_end({{":status", "415"}});
        const auto running = std::make_shared<Running>(loop, stream);
        const std::weak_ptr<Running> weak = running;
        // Not within the connection's own turn: what is cancelled may do something with it.
        stream->when_closed([loop, cancel, weak] { asio::post(loop, [cancel, weak] { cancel(weak); }); });
        if (const auto time = parse_timeout(header(stream->headers(), "grpc-timeout"))) {
            running->deadline.expires_after(std::min<std::chrono::nanoseconds>(*time, std::chrono::hours(24 * 365)));
            running->deadline.async_wait([cancel, weak](const boost::system::error_code& error) {
                const auto late = weak.lock();
                if (error || !late) return;
                late->is_late = true;
                cancel(weak);
            });
        }
        ++connection->running;
        asio::co_spawn(loop, handle(running),
                       asio::bind_cancellation_slot(running->cancel.slot(), [connection, running](const std::exception_ptr&) {
                           --connection->running;
                           connection->changed.notify_all();
                       }));
    };
    const auto http2 = Http2::make(loop, std::move(transport), Http2::Role::server, accept);
    co_await http2->run();
    while (connection->running > 0) co_await connection->changed.wait();
}

}  // namespace grua::grpc
