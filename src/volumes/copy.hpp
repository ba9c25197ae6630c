// One tree into another, through descriptors only: owners, modes, times, symlinks, hard links, devices, xattrs, holes.
#pragma once

#include <string_view>

namespace grua::volumes {

/// Copies what is in the folder `source_path` below the descriptor `source_root` into the folder `target` (a trusted host
/// path), and the folder's own owner, mode and times. Returns false where the source is no folder.
bool copy_tree(int source_root, std::string_view source_path, const char* target);

}  // namespace grua::volumes
