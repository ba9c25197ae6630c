// Calls that we make of somebody else, on a connection that is there.
#pragma once

#include "grpc/http2.hpp"
#include "grpc/messages.hpp"
#include "grpc/status.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace grua::grpc {

struct CallOptions {
    Headers metadata;
    std::optional<std::chrono::nanoseconds> timeout;
    std::string authority = "localhost";
};

/// One call; given up where it is destroyed before it has ended. Loop only.
class ClientCall {
public:
    /// Throws Error(unavailable) where the connection has ended.
    ClientCall(Http2& connection, const std::string& method, CallOptions options = {});
    ClientCall(const ClientCall&) = delete;
    ClientCall& operator=(const ClientCall&) = delete;
    ~ClientCall();

    /// Throws CallError where the call was refused, Error(unavailable) where nobody takes the message any more.
    asio::awaitable<void> write(std::string_view message);
    /// Nothing more will be written.
    void end();

    /// The next message; nothing where the call has ended well. Throws CallError where it has not.
    asio::awaitable<std::optional<std::string>> read();

    /// Of the answer, once it has begun.
    const Headers& headers() const noexcept { return stream_->headers(); }

private:
    struct Deadline;
    asio::awaitable<std::optional<std::string>> next();
    Status status() const;

    StreamPtr stream_;
    MessageReader reader_;
    std::shared_ptr<Deadline> deadline_;
};

/// One message there, one back.
asio::awaitable<std::string> call(Http2& connection, std::string method, std::string request, CallOptions options = {});

}  // namespace grua::grpc
