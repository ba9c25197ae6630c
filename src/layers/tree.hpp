// Folders of foreign content: removed and measured through fds, links never followed.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>

namespace grua::layers {

/// Removes `name` in `directory` with all below it; what is not there is no error. Folders nested deeper than descriptors and
/// stack allow are moved up into `directory` for it. What is mounted in it is EBUSY. False where `stop` came before the end.
bool remove_tree(int directory, const std::string& name, const std::stop_token& stop = {});

/// Bytes of the regular files below `path`, hard links once.
std::uint64_t tree_size(const std::string& path);

}  // namespace grua::layers
