// Another program, run to its end.
#pragma once

#include <string>
#include <vector>

namespace grua::app {

/// What it writes to standard output. Throws Error(not_found) where there is none and
/// Error(system) where it fails.
std::string output_of(const std::vector<std::string>& words);

}  // namespace grua::app
