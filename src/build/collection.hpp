// What goes of the builder's caches when the engine collects, and why the rest stays. Pure.
//
// All of it can be made again, so that it goes by the policy of images: while the disk is above the high mark, what was not used for
// longest first, until it is below the low mark; nothing that was used within `keep`. What others are made of stays as long as they do.
#pragma once

#include "build/usage_plan.hpp"
#include "images/gc.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace grua::build {

struct Collectable {
    UsageEntry entry;
    std::string kind = "build-cache";
    std::string kept_for = {};  ///< Why it does not go in any case; empty where nothing speaks against it.
};

struct CollectionStep {
    std::size_t at = 0;  ///< Of the collectables.
    images::Decision decision;
};

/// What goes comes first, in the order in which it may.
std::vector<CollectionStep> plan_collection(const std::vector<Collectable>& all, const images::GcPolicy& policy, const images::Disk& disk,
                                            std::uint64_t freed, Time now);

}  // namespace grua::build
