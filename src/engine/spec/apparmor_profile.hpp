// AppArmor's profile for containers that ask for none, as Docker has one where the host has the parser for it.
#pragma once

#include <string>

namespace grua::engine {

/// Of this gruad's host: two engines side by side have one each.
inline constexpr const char* default_profile_name = "grua-default";

/// Loads it where it is not loaded. False where this host cannot, which is logged. Blocks: the parser is a program.
bool load_default_profile();

}  // namespace grua::engine
