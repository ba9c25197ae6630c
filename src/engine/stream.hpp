// A connection that stops being HTTP: what is allowed first, and gets the client's socket then.
#pragma once

#include "base/async.hpp"
#include "base/fd.hpp"

#include <functional>
#include <string>

namespace grua::engine {

struct Stream {
    bool terminal = false;  ///< Bytes as they are; else framed as Docker's stream format.

    /// Gives the socket away: to the monitor at once, or with the start of a container that does not run yet. Nothing may be
    /// buffered for it any more; bytes that the client sent already and were read go into `early_input`.
    std::function<asio::awaitable<void>(Fd client, std::string early_input)> hand_over;
};

}  // namespace grua::engine
