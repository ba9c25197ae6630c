// The table of containers from what lies in their folders, for a database that was lost.
#pragma once

#include "engine/model/stored_record.hpp"

#include <string>
#include <vector>

namespace grua::store {
class Database;
}

namespace grua::engine {

struct RebuiltContainers {
    std::vector<ContainerRecord> records;  ///< Known again, as they were when they last changed otherwise than by running.
    std::vector<std::string> lost;         ///< Nothing says what they are. They are kept, and shown as `dead`.
};

/// `containers` and `live`: the folders <data root>/containers and <exec root>/containers; `layers`: containers that have a writable
/// layer. Reads only. What goes with its exit is not the store's, and is left to recovery.
RebuiltContainers find_containers(const std::string& containers, const std::string& live, const std::vector<std::string>& layers);

void rebuild_rows(store::Database& database, const RebuiltContainers& found);

}  // namespace grua::engine
