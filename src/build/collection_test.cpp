#include "build/collection.hpp"

#include <gmock/gmock.h>

namespace grua::build {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using Verdict = images::Decision::Verdict;

const Time now{std::chrono::hours(500'000)};

Collectable made(const std::string& id, std::uint64_t bytes, std::chrono::seconds age, std::vector<std::string> parents = {}) {
    return {.entry = {.id = id, .parents = std::move(parents), .bytes = bytes, .last_used = now - age}};
}

struct Planned {
    std::vector<std::string> removed;
    std::map<std::string, std::string> kept;
};

Planned plan(const std::vector<Collectable>& all, std::uint64_t used, const images::GcPolicy& policy = {.keep = 1h},
             std::uint64_t freed = 0) {
    Planned out;
    for (const CollectionStep& each : plan_collection(all, policy, {.used = used, .total = 1000}, freed, now)) {
        EXPECT_EQ(each.decision.id, all.at(each.at).entry.id);
        if (each.decision.verdict == Verdict::remove)
            out.removed.push_back(each.decision.id);
        else
            out.kept[each.decision.id] = each.decision.reason;
    }
    EXPECT_EQ(out.removed.size() + out.kept.size(), all.size());
    return out;
}

TEST(CollectionTest, WhatWasUnusedForLongestGoesUntilThereIsRoom) {
    const std::vector all{made("a", 100, 3h), made("b", 100, 5h), made("c", 100, 4h), made("d", 100, 30min)};
    EXPECT_TRUE(plan(all, 850).removed.empty());
    EXPECT_EQ(plan(all, 850).kept["b"], "the disk is 85 % full, caches go above 85 %");
    Planned some = plan(all, 900);
    EXPECT_THAT(some.removed, ElementsAre("b", "c"));
    EXPECT_EQ(some.kept["a"], "without the others the disk is below 75 %");
    EXPECT_EQ(some.kept["d"], "used 30 minutes ago, kept for 1 hour");
    EXPECT_THAT(plan(all, 900, {.keep = 1h}, 100).removed, ElementsAre("b"));
    EXPECT_THAT(plan(all, 1000, {.keep = 0s}).removed, ElementsAre("b", "c", "a"));
    EXPECT_THAT(plan(all, 1000, {.high = 0, .low = 0, .keep = 0s}).removed, ElementsAre("b", "c", "a", "d"));
}

TEST(CollectionTest, WhatOthersAreMadeOfStaysAsLongAsTheyDo) {
    std::vector all{made("base", 10, 9h), made("middle", 10, 8h, {"base"}), made("top", 10, 2h, {"middle", "base"}), made("used", 10, 9h)};
    all[3].entry.in_use = true;
    const images::GcPolicy everything{.high = 0, .low = 0, .keep = 1h};
    EXPECT_THAT(plan(all, 900, everything).removed, ElementsAre("top", "middle", "base"));
    EXPECT_EQ(plan(all, 900, everything).kept["used"], "a build uses it");
    all[2].entry.last_used = now;
    Planned none = plan(all, 900, everything);
    EXPECT_TRUE(none.removed.empty());
    EXPECT_EQ(none.kept["middle"], "top was made of it");
    EXPECT_EQ(none.kept["base"], "middle was made of it");
}

TEST(CollectionTest, WhatImagesHaveGivesNothingBack) {
    std::vector all{made("a", 500, 3h), made("b", 50, 2h), made("c", 50, 2h)};
    all[0].entry.is_shared = true;
    all[2].kept_for = "it is pinned";
    const auto steps = plan_collection(all, {.high = 10, .low = 75, .keep = 0s}, {.used = 780, .total = 1000}, 0, now);
    EXPECT_EQ(steps.at(0).decision.size, 0U);
    EXPECT_EQ(steps.at(1).decision.id, "b");
    EXPECT_EQ(steps.at(1).decision.size, 50U);
    EXPECT_EQ(steps.at(2).decision.reason, "it is pinned");
}

}  // namespace
}  // namespace grua::build
