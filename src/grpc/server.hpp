// The calls that clients make of us: methods by their names, each call a coroutine.
#pragma once

#include "grpc/http2.hpp"
#include "grpc/messages.hpp"
#include "grpc/status.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::grpc {

/// One call. Loop only.
class ServerCall {
public:
    explicit ServerCall(StreamPtr stream) : stream_(std::move(stream)) {}

    /// "/package.Service/Method"
    std::string_view method() const noexcept { return header(stream_->headers(), ":path"); }
    /// The first by this name, in lower case; empty where there is none.
    std::string_view metadata(std::string_view name) const noexcept { return header(stream_->headers(), name); }
    const Headers& all_metadata() const noexcept { return stream_->headers(); }

    /// The client's next message; nothing where it has said its last. Throws Error where it has given the call up.
    asio::awaitable<std::optional<std::string>> read();

    /// Nothing more is wanted: whoever reads has come to the end.
    void stop_reading() { stream_->stop_reading(); }

    /// The one message of a call that has one.
    asio::awaitable<std::string> read_only();

    /// The headers of the answer, where they are to be there before its first message.
    void begin(Headers more = {});

    /// Comes back when the client has taken enough of what was written before.
    asio::awaitable<void> write(std::string_view message);

private:
    friend class Services;
    void finish(const Status& status);

    StreamPtr stream_;
    MessageReader reader_;
};

/// Ends the call: what it throws is its status, see status_of(). Cancelled where the client gives the call up or its time is over.
using Handler = std::function<asio::awaitable<void>(ServerCall&)>;

class Services {
public:
    /// `method`: "/package.Service/Method".
    void add(std::string method, Handler handler) { handlers_.insert_or_assign(std::move(method), std::move(handler)); }

    /// Their names.
    std::vector<std::string> methods() const {
        std::vector<std::string> out;
        for (const auto& [method, handler] : handlers_) out.push_back(method);
        return out;
    }

    /// One request, one answer; messages have ParseFromString() and SerializeAsString().
    template <typename Request, typename Function>
    void add_unary(std::string method, Function answer) {
        add(std::move(method), [answer = std::move(answer)](ServerCall& call) -> asio::awaitable<void> {
            const auto request = parse<Request>(co_await call.read_only());
            const auto said = co_await answer(call, request);
            co_await call.write(said.SerializeAsString());
        });
    }

    template <typename Message>
    static Message parse(const std::string& bytes) {
        Message out;
        if (!out.ParseFromString(bytes)) throw CallError({.code = Code::internal, .message = "the message cannot be read", .details = {}});
        return out;
    }

    /// Serves one connection until it ends and each of its calls has; does not throw. These services outlive it.
    asio::awaitable<void> serve(asio::any_io_executor loop, std::unique_ptr<Transport> transport) const;

private:
    struct Connection;
    struct Running;
    asio::awaitable<void> handle(std::shared_ptr<Running> running) const;
    const Handler& find(const Headers& request) const;

    std::map<std::string, Handler, std::less<>> handlers_;
};

}  // namespace grua::grpc
