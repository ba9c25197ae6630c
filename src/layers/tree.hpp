// Folders of foreign content: removed and measured through fds, links never followed.
#pragma once

#include <cstdint>
#include <string>

namespace grua::layers {

/// Removes `name` in `directory` with all below it; what is not there is no error.
void remove_tree(int directory, const std::string& name);

/// Bytes of the regular files below `path`, hard links once.
std::uint64_t tree_size(const std::string& path);

}  // namespace grua::layers
