// A layer as one file instead of a folder tree: an image of the kernel's read-only file system erofs, which mounts it from the
// file itself (Linux 6.12). Uncompressed, so that files are read as fast as from the tree.
#pragma once

#include "base/fd.hpp"
#include "layers/tar.hpp"

#include <string>

namespace grua::layers {

/// What unpack_tar() makes as a folder, in a new file at `path`; returns the bytes of its files. All names and attributes are
/// held in memory until the end, with a bound. An Error names the entry.
std::uint64_t write_erofs(TarReader& tar, const std::string& path);

/// The image at `path` as a detached mount.
Fd mount_erofs(const std::string& path);

/// Throws where overlayfs does not take an image in `directory` as a layer.
void check_erofs(const std::string& directory);

}  // namespace grua::layers
