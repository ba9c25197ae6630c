// Before a container starts: whoever takes its log elsewhere is looked up, and asked whether it is there. Once it runs, a peer may come and
// go (monitor/log_peer.hpp); one that is not there from the beginning is most often a mistake in writing, which the start says, as
// Docker's.
#pragma once

#include "base/async.hpp"
#include "monitor/log_spec.hpp"

namespace grua::engine {

/// With the addresses that its host has now. Throws Error.
asio::awaitable<monitor::LogSpec> reach_log_peer(monitor::LogSpec spec);

}  // namespace grua::engine
