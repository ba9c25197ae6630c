// Results of operations as rows of the store: what each is made of, under which keys it is found, and what it is to people.
//
// Nothing here is synced on its own account, and a row may name layers that are gone: whoever reads them looks. Blocks, so it is used from
// the pool.
#pragma once

#include "base/text.hpp"
#include "oci/digest.hpp"
#include "store/database.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace grua::build {

/// One digest for all records that name it.
using LayerName = std::shared_ptr<const oci::Digest>;

struct KeptResult {
    std::string key;
    std::vector<LayerName> layers;  ///< The lowest first.
    bool is_nothing = false;        ///< An operation may give nothing for one of its results.

    friend bool operator==(const KeptResult& left, const KeptResult& right);
};

/// What came of one operation. Does not change.
struct KeptRecord {
    std::string id;        ///< Of its results' keys.
    std::string usage_id;  ///< As people see it.
    std::string type;      ///< See UsageEntry.
    std::string description;
    Time created{};
    std::vector<KeptResult> results;
};
using KeptRecordPtr = std::shared_ptr<const KeptRecord>;

struct CacheUse {
    Time last_used{};
    std::int64_t uses = 0;
};

struct CacheRow {
    KeptRecordPtr record;
    CacheUse use;
    std::vector<std::string> keys;  ///< The oldest first.
};

class CacheRows {
public:
    explicit CacheRows(store::Database& database) : database_(database) {}

    /// Makes the tables where there are none. What cannot be read is deleted.
    std::vector<CacheRow> load();

    void put(const std::vector<CacheRow>& rows);
    struct Use {
        std::string id;
        CacheUse use;
    };
    void set_uses(const std::vector<Use>& uses);
    void remove(const std::vector<std::string>& ids);

private:
    void forget(const std::string& id);

    store::Database& database_;
};

}  // namespace grua::build
