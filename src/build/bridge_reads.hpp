// What front ends outside ask about results that they have: whether they can be made, and what files are in them; and about sources.
#pragma once

#include "build/control.hpp"
#include "build/operations/operations.hpp"

namespace grua::build {

/// Evaluate, ReadFile, ReadDir, StatFile, ResolveSourceMeta and ResolveImageConfig. All of them outlive the services' calls.
void add_bridge_reads(grpc::Services& services, const FindCaller& find, Builder& builder, Workplace& place);

}  // namespace grua::build
