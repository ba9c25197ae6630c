// Starting gruad where none runs, so that the first command of a newcomer works.
#pragma once

#include "client/endpoint.hpp"

namespace grua::cli {

/// Starts gruad in a session of its own, waits until it answers, and says so on standard error.
/// Throws Error(unavailable) with the log's name where it does not come up within ten seconds.
void start_daemon(const client::Endpoint& endpoint);

}  // namespace grua::cli
