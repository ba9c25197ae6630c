// Mounts that nobody else sees.
#pragma once

#include "base/fd.hpp"

#include <functional>
#include <string>

namespace grua::linux {

/// Runs `work` in a thread of its own that has left this process's working folder and mount namespace, and waits for it.
void in_private_mounts(const std::function<void()>& work);

/// A detached copy of what `path` leads to inside a detached mount; `place` is a folder of the host, which is covered for as long as it
/// takes, in a mount namespace of its own. Throws Error(not_found) where there is nothing.
Fd copy_part(const Fd& mount, const std::string& place, const std::string& path);

}  // namespace grua::linux
