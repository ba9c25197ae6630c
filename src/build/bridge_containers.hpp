// Programs that a front end runs by itself in trees that it has been given: NewContainer, ExecProcess, ReleaseContainer of LLBBridge.
//
// A program is a step as any RUN is, with the rights of the build. What it writes is gone with it.
#pragma once

#include "build/bridge.hpp"
#include "build/operations/operations.hpp"

namespace grua::build {

/// All of them outlive the services' calls.
void add_bridge_containers(grpc::Services& services, const FindCaller& find, Builder& builder, Operations& operations);

}  // namespace grua::build
