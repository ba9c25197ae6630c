// When the layers of a tree were made, as the history of an image tells it.
#pragma once

#include "build/operations/operations.hpp"
#include "build/tree.hpp"

#include <vector>

namespace grua::build {

/// `layers`: all of the tree's. Time{} where nobody knows, as of layers of base images, whose history is theirs. Blocks.
std::vector<Time> layer_times(Workplace& place, const TreePtr& tree, const std::vector<oci::Digest>& layers);

}  // namespace grua::build
