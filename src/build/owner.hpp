// Whom the files of a build belong to: `--chown` by number, or by name in the /etc/passwd and /etc/group of a tree.
#pragma once

#include "build/tree_path.hpp"
#include "build/wire/graph.pb.h"
#include "linux/root.hpp"

#include <optional>

namespace grua::build {

/// Nothing where none is asked for. As in BuildKit a user alone gives the group as well: by name that of its line in passwd, by number the
/// group of the same number; a group alone is with user 0; a name that is not in its file is 0. `users` and `groups` are the trees that the
/// names are looked for in, null where there is none. Blocks. Throws Error: where there is none for a name, or the file is not a file.
std::optional<Owner> find_owner(const wire::graph::ChownOpt* owner, const Root* users, const Root* groups);

}  // namespace grua::build
