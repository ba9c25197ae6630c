// A client's stream that gruad writes to itself, and its end.
#pragma once

#include "base/async.hpp"
#include "base/fd.hpp"

#include <boost/asio/posix/stream_descriptor.hpp>
#include <string>

namespace grua::engine {

/// Sends all of it, waiting for a slow client. False where the client is gone.
asio::awaitable<bool> send_to(asio::posix::stream_descriptor& client, std::string bytes);

/// Ends the stream so that the client reads all that was sent and then its end. A socket that is closed with input in it is reset, which
/// takes from the client what it has not read yet; so input is read and dropped until the client closes, for a bounded time. Comes back
/// at once.
void end_client(const asio::any_io_executor& loop, Fd client);

}  // namespace grua::engine
