#include "grpc/client.hpp"

#include "base/encoding.hpp"

#include <boost/asio/steady_timer.hpp>

namespace grua::grpc {
namespace {

/// What an answer of HTTP says that is none of gRPC.
Code code_of_http(std::string_view status) {
    if (status == "400") return Code::internal;
    if (status == "401") return Code::unauthenticated;
    if (status == "403") return Code::permission_denied;
    if (status == "404") return Code::unimplemented;
    if (status == "429" || status == "502" || status == "503" || status == "504") return Code::unavailable;
    return Code::unknown;
}

}  // namespace

struct ClientCall::Deadline {
    explicit Deadline(const asio::any_io_executor& loop) : timer(loop) {}
    asio::steady_timer timer;
    bool is_over = false;
};

ClientCall::ClientCall(Http2& connection, const std::string& method, CallOptions options) {
    Headers headers{{":method", "POST"},
                    {":scheme", "http"},
                    {":authority", std::move(options.authority)},
                    {":path", method},
                    {"te", "trailers"},
                    {"content-type", "application/grpc"},
                    {"user-agent", "grua/" GRUA_VERSION}};
    if (options.timeout) headers.emplace_back("grpc-timeout", format_timeout(*options.timeout));
    for (auto& each : options.metadata) headers.push_back(std::move(each));
    stream_ = connection.open(headers);
    if (!options.timeout) return;
    deadline_ = std::make_shared<Deadline>(connection.loop());
    deadline_->timer.expires_after(*options.timeout);
    deadline_->timer.async_wait([stream = stream_, weak = std::weak_ptr(deadline_)](const boost::system::error_code& error) {
        const auto self = weak.lock();
        if (error || !self) return;
        self->is_over = true;
        stream->reset(Reset::cancelled);
    });
}

ClientCall::~ClientCall() {
    if (deadline_) deadline_->timer.cancel();
    stream_->reset(Reset::cancelled);
}

asio::awaitable<void> ClientCall::write(std::string_view message) {
    try {
        co_await stream_->write(frame(message));
    } catch (const Error&) {
        // An answer that came before its request had ended says why nothing more is taken.
        if (!stream_->has_all() || stream_->headers().empty()) throw;
        Status ended = status();
        if (ended.code == Code::ok) throw;
        throw CallError(std::move(ended));
    }
}

void ClientCall::end() { stream_->end(); }

asio::awaitable<std::optional<std::string>> ClientCall::read() {
    try {
        co_return co_await next();
    } catch (const CallError&) {
        throw;
    } catch (const Error& error) {
        if (deadline_ && deadline_->is_over)
            throw CallError({.code = Code::deadline_exceeded, .message = "the call's time is over", .details = {}});
        throw CallError({.code = Code::unavailable, .message = error.what(), .details = {}});
    }
}

asio::awaitable<std::optional<std::string>> ClientCall::next() {
    co_await stream_->answered();
    for (;;) {
        auto message = reader_.next();
        stream_->hold(reader_.held());
        if (message) co_return message;
        const std::string bytes = co_await stream_->read();
        if (bytes.empty()) break;
        reader_.add(bytes);
    }
    Status ended = status();
    if (ended.code != Code::ok) throw CallError(std::move(ended));
    if (reader_.has_part()) throw CallError({.code = Code::internal, .message = "the answer ends within a message", .details = {}});
    co_return std::nullopt;
}

Status ClientCall::status() const {
    const std::string_view http = header(stream_->headers(), ":status");
    // An answer without a message has its status in front.
    const Headers& fields = header(stream_->trailers(), "grpc-status").empty() ? stream_->headers() : stream_->trailers();
    const std::string_view code = header(fields, "grpc-status");
    if (code.empty())
        return {.code = code_of_http(http), .message = fmt::format("the answer has no grpc-status; HTTP status {}", http), .details = {}};
    std::string message = decode_message(header(fields, "grpc-message"));
    if (message.empty() && parse_code(code) != Code::ok) message = fmt::format("the answer says no more than grpc-status {}", code);
    return {.code = parse_code(code),
            .message = std::move(message),
            .details = base64_decode_any(header(fields, "grpc-status-details-bin")).value_or("")};
}

asio::awaitable<std::string> call(Http2& connection, std::string method, std::string request, CallOptions options) {
    ClientCall made(connection, method, std::move(options));
    co_await made.write(request);
    made.end();
    auto answer = co_await made.read();
    if (!answer) throw CallError({.code = Code::internal, .message = fmt::format("{}: the answer has no message", method), .details = {}});
    if (co_await made.read())
        throw CallError({.code = Code::internal, .message = fmt::format("{}: more than one answer", method), .details = {}});
    co_return std::move(*answer);
}

}  // namespace grua::grpc
