// gruad --rebuild: a new grua.db from what the data root holds, for one that was lost or is damaged.
#pragma once

#include <string>

namespace grua::gruad {

/// Both roots are locked by the caller. What is there is read; nothing is ended, moved or deleted, but a database that is damaged or empty,
/// which is moved aside. Prints what was found. Throws Error(conflict) where grua.db is there and whole.
void rebuild_database(const std::string& data_root, const std::string& exec_root);

}  // namespace grua::gruad
