// A layer's tar becomes a folder in overlayfs' form: whiteouts are devices 0:0, opaque folders have the xattr.
#pragma once

#include "layers/tar.hpp"

#include <string>

namespace grua::layers {

/// Everything is made through fds below `directory`, a fresh folder; returns the bytes of its files. An Error names the entry.
std::uint64_t unpack_tar(TarReader& tar, const std::string& directory);

}  // namespace grua::layers
