// The request that begins a build, from what the command line says. Pure, but for the indexes of local caches that it looks into.
#pragma once

#include "build/wire/control.pb.h"
#include "cli/build/inputs.hpp"
#include "cli/build/options.hpp"

#include <set>
#include <string>

namespace grua::cli {

/// What an engine says about itself.
struct EngineAbilities {
    std::set<std::string, std::less<>> graph;  ///< "exporter.image.attestations"
    std::string gateway;                       ///< The host's address, for "host-gateway".
};

/// Without an ID and a session. Throws Error(invalid_argument).
wire::control::SolveRequest make_request(const BuildOptions& options, const BuildInputs& inputs, const EngineAbilities& abilities);

}  // namespace grua::cli
