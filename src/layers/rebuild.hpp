// The table of layers from what the folders say, for a database that was lost.
#pragma once

#include "oci/digest.hpp"
#include "store/database.hpp"

#include <map>
#include <string>
#include <vector>

namespace grua::layers {

/// Brings the table of layers up to date.
void migrate(store::Database& database);

/// A container's folder names its layers by their numbers; whoever knows the container's diff IDs, the lowest first, knows which they are.
/// What no container stands on cannot be told: it is unpacked anew when it is needed. Returns the number of layers that are known again.
/// `directory` is the LayerStore's, which must not be open.
std::size_t rebuild_rows(const std::string& directory, store::Database& database,
                         const std::map<std::string, std::vector<oci::Digest>>& diff_ids_of_containers);

/// Containers that have a writable layer.
std::vector<std::string> container_folders(const std::string& directory);

}  // namespace grua::layers
