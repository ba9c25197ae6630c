// What selections read of a tree on disk, as a list: no more is looked at than they need.
#pragma once

#include "build/cache_key.hpp"
#include "build/tree_index.hpp"
#include "linux/root.hpp"

#include <vector>

namespace grua::build {

/// digest_of() of this list is that of a list of all. Blocks. Throws Error that names the path.
TreeIndex scan_tree(const Root& root, const std::vector<Selection>& selections);

}  // namespace grua::build
