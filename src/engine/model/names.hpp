// Names of containers: which are allowed, and random ones.
#pragma once

#include <string>
#include <string_view>

namespace grua::engine {

/// Takes "name" or "/name"; returns it without the slash. Throws Error(invalid_argument, "Invalid container name (x), only …").
std::string checked_name(std::string_view name);

/// "calm_noether": two of our words; with a digit from the second attempt on.
std::string random_name(int attempt);

}  // namespace grua::engine
