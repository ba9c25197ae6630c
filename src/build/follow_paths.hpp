// Paths that are wanted of a folder together with what links on the way to them lead to: a build that copies "app" wants the link app and
// the folder that it leads to.
#pragma once

#include "linux/root.hpp"

#include <string>
#include <vector>

namespace grua::build {

/// More paths, links followed included, are refused.
inline constexpr std::size_t followed_path_limit = 100'000;

/// Patterns of all that is wanted, sorted; a last name may have wildcards, which are kept. "." alone where the folder itself is. Links are
/// read as seen from the folder, so none leads out. Blocks. Throws Error(invalid_argument) for more than the limit.
std::vector<std::string> follow_paths(const Root& folder, const std::vector<std::string>& paths);

}  // namespace grua::build
