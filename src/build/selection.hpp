// Of a tree that is known as a list: what an operation reads of it. Pure.
#pragma once

#include "build/cache_key.hpp"
#include "build/made_of.hpp"
#include "build/tree_index.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

/// The path as it is in the list, links followed inside the tree; "" for the tree itself. Nothing where it leads to nothing. Throws
/// Error(invalid_argument) for links without end.
std::optional<std::string> resolve(const TreeIndex& tree, std::string_view path, bool follows_last);

/// Of names, kinds, modes, owners, links, devices, xattrs and contents; times are no part of it. Throws Error(not_found), "/a": not found,
/// for a path without wildcards that leads to nothing. `read`: gets what has been looked at; may be null.
std::string digest_of(const TreeIndex& tree, const std::vector<Selection>& selections, ReadFiles* read = nullptr);

}  // namespace grua::build
