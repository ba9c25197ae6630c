// The one question that each request is asked.
#pragma once

#include "engine/principal.hpp"

namespace grua::engine {

/// Throws what the policy throws.
void admit(const Door& door, const Asked& what);

}  // namespace grua::engine
