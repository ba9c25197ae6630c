// The tables of images from the documents in the content store, for a database that was lost.
#pragma once

#include "content/content_store.hpp"
#include "store/database.hpp"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace grua::images {

/// Brings the tables of images up to date.
void migrate(store::Database& database);

struct RebuiltImages {
    std::set<std::string> ids;
    std::size_t named = 0;  ///< How many of them have a name again.
};

/// Every index, and every manifest that no index has, becomes an image where at least one variant is whole. Their names were in the
/// database alone: those that containers were made by are given in `names`, by image ID; the others have none.
RebuiltImages rebuild_rows(const content::ContentStore& content, store::Database& database,
                           const std::map<std::string, std::set<std::string>>& names);

}  // namespace grua::images
