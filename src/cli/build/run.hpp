// A build from its request to its result: the calls, the session, what is shown meanwhile.
#pragma once

#include "cli/build/options.hpp"
#include "client/endpoint.hpp"

namespace grua::cli {

/// With `debug` warnings are told in full. The exit status: 0; 1 where the build has failed, which is said then; 130 where it was
/// interrupted; that of --call.
int run_build(const client::Endpoint& where, const BuildOptions& options, bool debug);

}  // namespace grua::cli
