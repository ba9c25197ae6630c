// The options of an OCI mount, sorted into what the kernel takes by different ways (config.md#linux-mount-options).
#pragma once

#include "linux/mounts.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace grua::runtime {

struct MountOptions {
    bool bind = false;
    bool recursive_bind = false;
    bool remount = false;
    bool copy_up = false;  ///< tmpcopyup: a tmpfs begins with what it covers.
    bool id_mapped = false;
    bool id_mapped_recursive = false;
    linux::MountChange top;    ///< For the mount itself.
    linux::MountChange below;  ///< For it and all below it: "rro" and its kind.
    unsigned long propagation = 0;
    linux::Recursion propagation_recursion = linux::Recursion::top_only;
    std::vector<std::string> filesystem;  ///< What only the file system understands: "size=64k".
};

/// Throws Error(invalid_argument) where two options contradict.
MountOptions parse_mount_options(const std::vector<std::string>& options);

/// All the names that parse_mount_options knows, sorted; for `grua-runtime features`.
std::vector<std::string> known_mount_options();

/// "rslave" -> MS_SLAVE; 0 for the empty text. `recursion` is set by the "r".
unsigned long parse_propagation(std::string_view text, linux::Recursion& recursion);

}  // namespace grua::runtime
