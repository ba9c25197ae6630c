// What one tree has more, less and other than another, as overlayfs has it in a layer: laid on the one it gives the other.
#pragma once

#include "linux/root.hpp"

#include <stop_token>

namespace grua::build {

/// `layer` is empty, and no part of a mounted overlay. False where the trees are the same, and nothing is in it. Neither tree changes
/// meanwhile. Files are the same where owner, mode, times, extended attributes and contents are; of folders the times do not count.
/// Two names of one file stay so within a folder that is new.
bool write_difference(const Root& lower, const Root& upper, const Root& layer, const std::stop_token& stop);

}  // namespace grua::build
