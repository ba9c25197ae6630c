// /proc/self/mountinfo, which tells what is mounted without asking any of it: a server that does not answer keeps no reader.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace grua::linux {

/// mountinfo writes space, tab, newline and backslash as \ooo.
std::string unescape_mount_path(std::string_view text);

/// Mount points at `folder`, an absolute path without links, and below it, each as often as something is mounted there.
std::vector<std::string> mounts_below(std::string_view folder);

}  // namespace grua::linux
