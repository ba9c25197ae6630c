// What the cache's records are to somebody who looks at what takes room: each layer counts once, for the record that made it. Pure.
#pragma once

#include "build/cache_rows.hpp"
#include "build/usage_plan.hpp"

#include <map>
#include <vector>

namespace grua::build {

struct SeenRecord {
    KeptRecordPtr record;
    CacheUse use;
    bool in_use = false;
};

struct LayerFacts {
    std::uint64_t bytes = 0;
    bool is_in_image = false;
};

/// In the order of `records`. The record that made a layer is the one that has it nearest to its top, the oldest of several. What is below
/// its own layers is its parents'. A layer of a base image that images still have takes no room for the cache's sake.
std::vector<UsageEntry> entries_of(const std::vector<SeenRecord>& records, const std::map<oci::Digest, LayerFacts>& facts);

}  // namespace grua::build
