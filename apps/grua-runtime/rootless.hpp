// An ordinary user's containers. Such a user may do nothing on the host, but everything in a user namespace: this program goes into the
// one that the bundle asks for before anything is made, and what it makes there is made as by root. The rest of the runtime does not
// know of it, but for cgroups, which such a user mostly may not make (runtime::CgroupUse::if_permitted).
#pragma once

#include "oci/runtime_spec.hpp"

#include <string>

namespace grua::app {

/// For a caller who is not root: into a new user namespace with the maps of `spec`, from which it is then gone. One ID may be mapped
/// without help, more need newuidmap and newgidmap. Does nothing for root. Throws Error(invalid_argument) where an ordinary user asks
/// for a container without one.
void enter_user_namespace(oci::RuntimeSpec& spec);

/// False for the root of a user namespace, which may less than it seems.
bool is_first_user_namespace();

/// For a caller who is not root: into that of the container whose init `pidfd` is, likewise.
void join_user_namespace(oci::RuntimeSpec& spec, int pidfd);

/// Where containers are kept that --root says nothing of: /run/grua-runtime, and an ordinary user's below XDG_RUNTIME_DIR.
std::string default_root();

}  // namespace grua::app
