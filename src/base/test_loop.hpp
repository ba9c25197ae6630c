// A loop for tests.
#pragma once

#include "base/async.hpp"

#include <boost/asio/io_context.hpp>

namespace grua {

/// Runs the loop until `body`, a coroutine, and all that it began have ended. Throws what it threw.
template <typename Body>
void run_on_loop(asio::io_context& loop, Body body) {
    std::exception_ptr failure;
    asio::co_spawn(loop, body(), [&](const std::exception_ptr& thrown) { failure = thrown; });
    loop.run();
    loop.restart();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace grua
