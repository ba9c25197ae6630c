// ADD's archives: a tar, packed or not, that is unpacked where a file would have been copied.
#pragma once

#include "build/copy_tree.hpp"

namespace grua::build {

/// A regular file that begins as an archive does, however packed. It has been looked at; `file` is read from its front.
bool is_archive(int file);

/// Into the folder, which is the root of the archive's links. What the archive says of owners holds where no other is given.
void unpack_archive(int file, const Root& folder, std::string_view shown, const std::optional<Owner>& owner, const std::stop_token& stop,
                    const FileProgress& progress);

}  // namespace grua::build
