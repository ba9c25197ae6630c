// One client's connection: requests in order, answers in order, until it is closed, upgraded or told to stop.
#pragma once

#include "api/exchange.hpp"
#include "base/fd.hpp"
#include "engine/principal.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>

namespace grua::api {

/// Answers one request. It may throw Error, which becomes the answer.
using Dispatch = std::function<asio::awaitable<void>(Exchange&)>;

/// The connections of a server: started here, counted, ended together.
class Connections {
public:
    /// `server_headers`: what each answer says about the server, whole header lines with their line ends.
    Connections(asio::any_io_executor loop, Dispatch dispatch, std::string server_headers);
    ~Connections();
    Connections(const Connections&) = delete;
    Connections& operator=(const Connections&) = delete;

    /// Serves a connected stream socket, nonblocking or not.
    void serve(Fd socket, engine::Principal who);
    std::size_t count() const noexcept;

    /// Ends those that have waited for a request for a while and have sent nothing of it.
    void close_idle();

    /// Ends idle connections and streams at once, lets the others finish what they do for `patience`, cuts the clients of those off
    /// that are left then, and returns how many did not end by that.
    asio::awaitable<std::size_t> stop(std::chrono::milliseconds patience);

    struct State;

private:
    std::shared_ptr<State> state_;
};

/// The one mapping of failures to statuses.
int status_of(const Error& error) noexcept;
/// Of a start that failed; nothing of all else.
std::optional<int> exit_code_of(const Error& error) noexcept;

/// {"message": …}, as every failed request is answered; a failed start says {"exitCode": 126} and the like too, which Docker's clients must
/// find in the words.
std::string error_body(std::string_view message, std::optional<int> exit_code = std::nullopt);

}  // namespace grua::api
