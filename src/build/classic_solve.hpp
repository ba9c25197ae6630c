// A request of POST /build as a request of BuildKit's. Pure.
#pragma once

#include "build/classic_request.hpp"
#include "build/graph.hpp"
#include "build/wire/control.pb.h"

#include <string>

namespace grua::build {

/// `given`: the ID under which its files and credentials are given (given_sessions.hpp). Of a request that check() has let pass.
wire::control::SolveRequest solve_request_of(const ClassicRequest& request, const std::string& given);

/// Programs of the graph get these limits, which are no part of what they are.
void limit(pb::Definition& definition, const engine::Resources& limits);

}  // namespace grua::build
