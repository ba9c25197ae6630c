// AppArmor: by the kernel's own call where it has one (6.8), else by procfs.
#pragma once

#include <string>

namespace grua::linux {

/// Whether this kernel confines by it.
bool has_apparmor();

/// What the next execve of this thread is confined by; "unconfined" is no profile. Of a thread that may mount: procfs is asked by a mount
/// of its own, which nobody has put anything over. Throws Error(not_found) for a profile that is not loaded.
void set_exec_profile(const std::string& profile);

/// Of all profiles that are loaded, as root sees them.
bool is_profile_loaded(const std::string& profile);

}  // namespace grua::linux
