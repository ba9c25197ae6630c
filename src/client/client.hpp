// The client of the Engine API: what the CLI and the tests speak to a daemon with. It knows the wire and nothing else: documents
// are plain JSON values, so it works with any daemon that serves the API.
//
// What is kept true: no request is sent before the API version is agreed on; a failed request is an ApiError with the daemon's
// own text; a stream has a connection of its own, so that ordinary calls go on beside it.
#pragma once

#include "base/error.hpp"
#include "client/http.hpp"

#include <boost/json/value.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

namespace grua::client {

/// The newest API version this client speaks, and the oldest.
inline constexpr int newest_minor = 50;
inline constexpr int oldest_minor = 24;

/// The daemon refused. what() is its message without any prefix.
class ApiError : public Error {
public:
    ApiError(int status, std::string message, std::optional<int> exit_code = std::nullopt);
    int status() const noexcept { return status_; }
    /// Of a container that did not start: 126, 127 or 128. Docker's daemon does not say it.
    std::optional<int> exit_code() const noexcept { return exit_code_; }

private:
    int status_;
    std::optional<int> exit_code_;
};

/// A response together with the connection that it is read from.
struct Stream {
    std::unique_ptr<Connection> connection;
    Response response;
    std::jthread sender;  ///< Of a body that is sent while the answer is read already.
};

/// A connection after its upgrade: raw bytes in both directions.
struct RawStream {
    Fd socket;
    std::string already_read;
    bool multiplexed = false;  ///< Docker's 8-byte frames; false also where the daemon does not say.
};

class Client {
public:
    explicit Client(Endpoint endpoint) : endpoint_(std::move(endpoint)) {}

    const Endpoint& endpoint() const noexcept { return endpoint_; }

    /// Connects and agrees on a version; done by the first call otherwise. Throws Error(unavailable) where nobody answers.
    void negotiate();
    int api_minor();            ///< 50 for API 1.50.
    std::string api_version();  ///< "1.50"

    boost::json::value get(std::string_view path);
    boost::json::value post(std::string_view path, const boost::json::value* body = nullptr);
    boost::json::value remove(std::string_view path);

    /// The whole answer. Statuses of 400 and more throw ApiError.
    std::string call(Request request, int* status = nullptr);

    /// A request on a connection of its own, answered piece by piece.
    Stream stream(Request request);
    /// Sends without waiting for the head: the caller polls `connection->fd()` and calls finish().
    std::unique_ptr<Connection> begin(Request request);
    static Response finish(Connection& connection);

    /// POSTs and upgrades to a raw stream (attach, exec start).
    RawStream hijack(std::string_view path, std::string body = {});

private:
    std::string versioned(std::string_view path);

    Endpoint endpoint_;
    std::unique_ptr<Connection> connection_;
    int minor_ = 0;
};

}  // namespace grua::client
