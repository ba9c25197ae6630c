#include "build/usage_plan.hpp"

#include "base/error.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace grua::build {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr Time today{std::chrono::hours(24 * 365 * 56)};

/// base ← install ← make, base ← copy; a context and a cache mount.
std::vector<UsageEntry> chain() {
    const auto entry = [](std::string id, std::vector<std::string> parents, std::uint64_t bytes, std::chrono::hours ago) {
        return UsageEntry{.id = std::move(id),
                          .parents = std::move(parents),
                          .bytes = bytes,
                          .created = today - 200h,
                          .last_used = today - ago,
                          .uses = 1};
    };
    std::vector<UsageEntry> out{entry("base", {}, 0, 100h),      entry("install", {"base"}, 100, 90h), entry("make", {"install"}, 10, 1h),
                                entry("copy", {"base"}, 5, 50h), entry("context", {}, 7, 20h),         entry("mount", {}, 70, 30h)};
    out[4].type = "source.local";
    out[5].type = "exec.cachemount";
    out[4].is_mutable = out[5].is_mutable = true;
    return out;
}

std::vector<std::string> pruned(const std::vector<UsageEntry>& entries, const PruneOptions& options, std::uint64_t free = 0) {
    std::vector<std::string> out;
    for (const std::size_t each : plan_prune(entries, options, today, free)) out.push_back(entries[each].id);
    return out;
}

std::string refusal(const auto& body) {
    try {
        body();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
        return error.what();
    }
    return "";
}

TEST(UsagePlan, AllGoesAndWhatIsBelowLast) {
    EXPECT_THAT(pruned(chain(), {}), ElementsAre("copy", "mount", "context", "make", "install", "base"));
}

TEST(UsagePlan, WhatIsUsedStaysWithAllItStandsOn) {
    auto entries = chain();
    entries[2].in_use = true;
    entries[5].in_use = true;
    mark_used_parents(entries);
    EXPECT_TRUE(entries[0].in_use);
    EXPECT_FALSE(entries[3].in_use);
    EXPECT_THAT(pruned(entries, {.all = true}), ElementsAre("copy", "context"));
}

TEST(UsagePlan, FiltersAndTimes) {
    EXPECT_THAT(pruned(chain(), {.filters = {"type==exec.cachemount", "id==copy"}}), ElementsAre("copy", "mount"));
    EXPECT_THAT(pruned(chain(), {.filters = {"id==install"}}), IsEmpty()) << "make stands on it";
    EXPECT_THAT(pruned(chain(), {.filters = {"parents==base,immutable"}}), ElementsAre("copy"));
    EXPECT_THAT(pruned(chain(), {.filters = {"mutable,private"}}), ElementsAre("mount", "context"));
    EXPECT_THAT(pruned(chain(), {.filters = {"inuse"}}), IsEmpty());
    EXPECT_THAT(pruned(chain(), {.unused = 24h}), ElementsAre("copy", "mount"));
    auto entries = chain();
    entries[3].type = "frontend";
    entries[2].is_shared = true;
    EXPECT_THAT(pruned(entries, {}), ElementsAre("mount", "context"));
    EXPECT_EQ(pruned(entries, {.all = true}).size(), 6U);
    EXPECT_NE(refusal([&] { pruned(entries, {.filters = {"type="}}); }), "");
}

TEST(UsagePlan, SizesOfWhatMayStay) {
    // 192 bytes in all.
    EXPECT_THAT(pruned(chain(), {.reserved_space = 100}), ElementsAre("copy", "mount", "context", "make"));
    EXPECT_THAT(pruned(chain(), {.reserved_space = 200}), IsEmpty());
    EXPECT_THAT(pruned(chain(), {.max_used_space = 187}), ElementsAre("copy"));
    EXPECT_THAT(pruned(chain(), {.reserved_space = 150, .max_used_space = 50}), ElementsAre("copy", "mount"));
    EXPECT_THAT(pruned(chain(), {.min_free_space = 1000}, 1000), IsEmpty());
    EXPECT_THAT(pruned(chain(), {.min_free_space = 1000}, 990), ElementsAre("copy", "mount"));
    EXPECT_EQ(pruned(chain(), {.min_free_space = 10000}, 990).size(), 5U) << "an empty one frees nothing";
    EXPECT_THAT(pruned(chain(), {.unused = 45h, .max_used_space = 1}), ElementsAre("copy"));
}

TEST(UsagePlan, RequestsOfBothKinds) {
    wire::control::PruneRequest request;
    request.add_filter("type==regular");
    request.set_all(true);
    request.set_keepduration(5);
    request.set_reservedspace(1);
    request.set_maxusedspace(2);
    request.set_minfreespace(3);
    PruneOptions options = read_prune_request(request);
    EXPECT_TRUE(options.all);
    EXPECT_EQ(options.unused, 5ns);
    EXPECT_EQ(options.reserved_space + 10 * options.max_used_space + 100 * options.min_free_space, 321U);
    request.set_minfreespace(-3);
    EXPECT_EQ(refusal([&] { (void)read_prune_request(request); }), "minFreeSpace: -3 is negative");

    const auto read = [](std::map<std::string, std::vector<std::string>, std::less<>> filters) {
        PruneOptions out;
        read_docker_filters(filters, today, out);
        return out;
    };
    options = read({{"id", {"a\"b,inuse"}}, {"until", {"24h"}}, {"private", {}}, {"shared", {"false"}}});
    EXPECT_THAT(options.filters, ElementsAre("id~=\"a\\\"b,inuse\",private,shared!=true"));
    EXPECT_EQ(options.unused, 24h);
    EXPECT_NO_THROW((void)Filter::parse(options.filters));
    EXPECT_EQ(read({{"unused-for", {format_time(today - 3h)}}}).unused, 3h);
    EXPECT_EQ(read({{"until", {std::to_string((today - 3h).time_since_epoch() / 1s)}}}).unused, 3h);
    EXPECT_NE(refusal([&] { read({{"until", {"soon"}}}); }), "");
    EXPECT_NE(refusal([&] { read({{"until", {"1h"}}, {"unused-for", {"1h"}}}); }), "");
    EXPECT_NE(refusal([&] { read({{"type", {"a", "b"}}}); }), "");
    EXPECT_NE(refusal([&] { read({{"colour", {"red"}}}); }), "");
    EXPECT_NE(refusal([&] { read({{"inuse", {"maybe"}}}); }), "");
}

TEST(UsagePlan, Records) {
    UsageEntry entry = chain()[1];
    entry.description = "RUN install";
    const auto record = to_record(entry);
    EXPECT_EQ(record.id(), "install");
    EXPECT_EQ(record.parents(0), "base");
    EXPECT_EQ(record.size(), 100);
    EXPECT_EQ(record.recordtype(), "regular");
    EXPECT_EQ(record.lastusedat().seconds(), (today - 90h).time_since_epoch() / 1s);
    entry.last_used = {};
    EXPECT_FALSE(to_record(entry).has_lastusedat());
    EXPECT_EQ(usage_id("x").size(), 25U);
}

}  // namespace
}  // namespace grua::build
