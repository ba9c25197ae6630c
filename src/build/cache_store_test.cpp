#include "build/cache_store.hpp"

#include "build/test_cache.hpp"

#include <gmock/gmock.h>

namespace grua::build {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

class CacheStoreTest : public WithCache {
protected:
    static std::vector<oci::Digest> layers_of(const std::optional<Results>& results) {
        return results ? *results->at(0)->kept_layers() : std::vector<oci::Digest>{};
    }
    std::int64_t rows(const std::string& table) { return database->query("SELECT count(*) FROM " + table)[0].integer(0); }
};

class OfAClient final : public Result {
public:
    using Result::Result;
};

TEST_F(CacheStoreTest, WhatWasKeptIsFoundByAllItsKeys) {
    const auto base_layer = base("base");
    const auto made = step();
    EXPECT_FALSE(find("definition"));
    {
        const Results results{tree("contents", {base_layer, made})};
        keep("definition", results, vertex("RUN make"));
        keep("contents", results, vertex("RUN make"));
        EXPECT_EQ(find("definition"), results) << "the same while it is there";
        EXPECT_EQ(cache->size(), 1U);
    }
    EXPECT_THAT(layers_of(find("definition")), ElementsAre(base_layer, made));
    flush();
    restart();
    EXPECT_THAT(layers_of(find("contents")), ElementsAre(base_layer, made));
    EXPECT_THAT(layers_of(find("definition")), ElementsAre(base_layer, made));
    EXPECT_EQ(find("definition")->at(0)->key, "contents");
    EXPECT_FALSE(find("another"));
}

TEST_F(CacheStoreTest, ItIsWrittenHalfASecondLater) {
    keep("a", {step()});
    keep("b", {step()});
    run([]() -> asio::awaitable<void> { co_return; });
    EXPECT_EQ(rows("build_cache"), 0);
    clock.turn(499ms);
    run([]() -> asio::awaitable<void> { co_return; });
    EXPECT_EQ(rows("build_cache"), 0);
    clock.turn(1ms);
    run([]() -> asio::awaitable<void> { co_return; });
    EXPECT_EQ(rows("build_cache"), 2);
    // That it was used is worth less hurry.
    EXPECT_TRUE(find("a"));
    clock.turn(59s);
    run([]() -> asio::awaitable<void> { co_return; });
    EXPECT_EQ(database->query("SELECT uses FROM build_cache WHERE id = 'a'")[0].integer(0), 1);
    clock.turn(1s);
    run([]() -> asio::awaitable<void> { co_return; });
    EXPECT_EQ(database->query("SELECT uses FROM build_cache WHERE id = 'a'")[0].integer(0), 2);
    EXPECT_EQ(clock.next(), Clock::never) << "nothing more is to do";
}

TEST_F(CacheStoreTest, WhatHasNoRowsIsForgottenByAKill) {
    const auto made = step();
    keep("a", {made});
    restart();
    EXPECT_FALSE(find("a"));
    EXPECT_FALSE(has_step(made));
}

TEST_F(CacheStoreTest, LayersOfForgottenStepsMayGo) {
    const auto made = step();
    layers->identify(made, content::digest_of("made"));
    layers->store_steps();
    restart();
    EXPECT_FALSE(find("a"));
    flush();
    EXPECT_FALSE(has_step(made));
    EXPECT_EQ(collected, 1);
    flush();
    EXPECT_EQ(collected, 1);
}

TEST_F(CacheStoreTest, NothingIsThereBeforeSomebodyAsks) {
    EXPECT_EQ(rows("sqlite_master WHERE name LIKE 'build_%'"), 0);
    EXPECT_EQ(clock.next(), Clock::never);
    flush();
    EXPECT_EQ(rows("sqlite_master WHERE name LIKE 'build_%'"), 0);
}

TEST_F(CacheStoreTest, OfSeveralResultsSomeMayBeNothing) {
    const auto first = step();
    const auto second = step();
    keep("a", Results{tree("k0", {first}), nullptr, tree("k2", {second}), tree("k3", {})}, vertex("RUN"));
    flush();
    restart();
    const auto found = find("a");
    ASSERT_TRUE(found);
    ASSERT_EQ(found->size(), 4U);
    EXPECT_EQ(found->at(0)->key, "k0");
    EXPECT_EQ(found->at(1), nullptr);
    EXPECT_THAT(*found->at(2)->kept_layers(), ElementsAre(second));
    EXPECT_THAT(*found->at(3)->kept_layers(), IsEmpty());
    keep("nothing", Results{nullptr}, vertex("RUN"));
    flush();
    restart();
    EXPECT_EQ(find("nothing"), Results{nullptr});
}

TEST_F(CacheStoreTest, WhatEndsWithItsClientIsNotKept) {
    keep("a", Results{std::make_shared<OfAClient>("a")}, vertex("local", "local://context"));
    EXPECT_FALSE(find("a"));
    EXPECT_EQ(cache->size(), 0U);
}

TEST_F(CacheStoreTest, AnotherRunTakesThePlaceOfTheFirst) {
    const auto first = step();
    const auto second = step();
    keep("a", {first});
    keep("b", Results{tree("a", {first})}, vertex("RUN"));
    flush();
    keep("a", {second});
    flush();
    EXPECT_EQ(cache->size(), 1U);
    EXPECT_THAT(layers_of(find("b")), ElementsAre(second));
    EXPECT_FALSE(has_step(first));
    EXPECT_TRUE(has_step(second));
    restart();
    EXPECT_THAT(layers_of(find("b")), ElementsAre(second));
    EXPECT_EQ(rows("build_cache_results"), 1);
}

TEST_F(CacheStoreTest, AKeyIsOneRecords) {
    keep("a", {step()});
    const auto second = step();
    keep("b", {second});
    flush();
    keep("a", Results{tree("b", {second})}, vertex("RUN"));
    flush();
    EXPECT_THAT(layers_of(find("a")), ElementsAre(second));
    EXPECT_EQ(cache->size(), 1U) << "nobody could find the other";
    for (int i = 0; i < 100; ++i) keep(fmt::format("key {}", i), Results{tree("b", {second})}, vertex("RUN"));
    flush();
    EXPECT_EQ(rows("build_cache_keys"), 32);
    EXPECT_TRUE(find("key 99"));
    EXPECT_FALSE(find("key 0"));
    restart();
    EXPECT_TRUE(find("key 99"));
}

TEST_F(CacheStoreTest, WhatStandsOnAMissingLayerGoesWithIt) {
    const auto base_layer = base("base");
    const auto made = step();
    const auto other = step();
    keep("base", {base_layer}, "FROM base", "docker-image://base");
    keep("a", {base_layer, made});
    keep("b", {other});
    flush();
    // The cache is not loaded: the image goes with its layers.
    restart();
    EXPECT_THAT(layers->remove_layers({base_layer}), ElementsAre(base_layer));
    EXPECT_FALSE(find("a"));
    EXPECT_TRUE(find("b"));
    flush();
    EXPECT_EQ(rows("build_cache"), 1);
    EXPECT_FALSE(has_step(made));
    EXPECT_TRUE(has_step(other));
}

TEST_F(CacheStoreTest, LayersOfTheBaseStayWhileTheCacheIsLoaded) {
    const auto base_layer = base("base");
    keep("a", {base_layer, step()});
    flush();
    EXPECT_THAT(layers->remove_layers({base_layer}), IsEmpty());
    restart();
    EXPECT_TRUE(find("a"));
    EXPECT_THAT(layers->remove_layers({base_layer}), IsEmpty());
    EXPECT_TRUE(find("a"));
}

TEST_F(CacheStoreTest, DamagedRowsAreNone) {
    keep("a", {step()});
    keep("b", {step()});
    flush();
    database->execute("UPDATE build_cache_results SET layers = 'step:../../etc' WHERE record = 'a'");
    restart();
    EXPECT_FALSE(find("a"));
    EXPECT_TRUE(find("b"));
    EXPECT_EQ(rows("build_cache"), 1);
    EXPECT_EQ(rows("build_cache_keys"), 1);
}

TEST_F(CacheStoreTest, WhatTheStoreDoesNotTakeIsTriedAgain) {
    const auto made = step();
    keep("a", {made});
    database->execute("CREATE TRIGGER refused BEFORE INSERT ON build_cache BEGIN SELECT RAISE(ABORT, 'refused'); END");
    flush();
    EXPECT_TRUE(find("a"));
    EXPECT_EQ(rows("build_cache"), 0);
    database->execute("DROP TRIGGER refused");
    clock.turn(10s);
    run([]() -> asio::awaitable<void> { co_return; });
    EXPECT_EQ(rows("build_cache"), 1);
    restart();
    EXPECT_TRUE(find("a"));
}

TEST_F(CacheStoreTest, EachLayerTakesRoomOnce) {
    const auto base_layer = base("base");
    const auto install = step(1000);
    const auto make = step(200);
    keep("base", {base_layer}, "FROM base", "docker-image://base");
    clock.turn(1s);
    keep("install", {base_layer, install}, "RUN install");
    keep("make", {base_layer, install, make}, "RUN make");
    keep("alias", Results{tree("alias", {base_layer, install})}, vertex("merge"));
    std::map<std::string, UsageEntry> entries;
    for (const UsageEntry& each : list()) entries[each.description] = each;
    ASSERT_EQ(entries.size(), 4U);
    EXPECT_EQ(entries["FROM base"].bytes, 0U);
    EXPECT_TRUE(entries["FROM base"].is_shared);
    EXPECT_THAT(entries["FROM base"].parents, IsEmpty());
    const bool alias_is_first = entries["merge"].bytes != 0;
    EXPECT_EQ(entries["RUN install"].bytes + entries["merge"].bytes, 1000U);
    EXPECT_EQ(entries["RUN make"].bytes, 200U);
    EXPECT_FALSE(entries["RUN make"].is_shared);
    EXPECT_THAT(entries["RUN make"].parents, ElementsAre(entries[alias_is_first ? "merge" : "RUN install"].id));
    EXPECT_EQ(entries["RUN make"].type, "regular");
    EXPECT_EQ(entries["RUN make"].uses, 1);
    EXPECT_FALSE(entries["RUN make"].in_use);
    EXPECT_FALSE(entries["RUN make"].is_mutable);
    // An image is made of it.
    const auto diff_id = content::digest_of("make");
    layers->identify(make, diff_id);
    image_layers.insert(diff_id);
    for (const UsageEntry& each : list())
        if (each.description == "RUN make") EXPECT_TRUE(each.is_shared);
}

TEST_F(CacheStoreTest, WhoHasAResultKeepsItsLayersThoughAnotherTakesItsPlace) {
    const auto first = step();
    const auto second = step();
    const auto third = step();
    keep("a", {first});
    keep("b", {second});
    auto of_a = find("a");
    auto of_b = find("b");
    // Made anew by others: in the place of the one, and with the only key of the other.
    keep("a", {third});
    keep("b", Results{tree("c", {third})}, vertex("RUN"));
    flush();
    layers->prepare("x", {first, second});
    EXPECT_TRUE(has_step(first));
    EXPECT_THAT(layers_of(find("a")), ElementsAre(third));
    EXPECT_THAT(layers_of(find("b")), ElementsAre(third));
    layers->remove("x");
    of_a.reset();
    of_b.reset();
    clock.turn(10s);
    run([]() -> asio::awaitable<void> { co_return; });
    EXPECT_FALSE(has_step(first));
    EXPECT_FALSE(has_step(second));
    EXPECT_TRUE(has_step(third));
}

TEST_F(CacheStoreTest, TheSameFilesMadeTwiceTakeTheirRoomOnce) {
    const auto first = step(1000);
    const auto second = step(1000);
    const auto other = step(1000);
    keep("first", {first});
    keep("second", {second});
    keep("other", {other});
    const auto diff_id = content::digest_of("the same");
    layers->identify(first, diff_id);
    layers->identify(second, diff_id);
    std::uint64_t bytes = 0;
    for (const UsageEntry& each : list()) bytes += each.bytes;
    EXPECT_EQ(bytes, 2000U);
}

TEST_F(CacheStoreTest, WhatIsUsedIsNotRemoved) {
    const auto made = step();
    keep("a", {made});
    flush();
    const std::string id = list().at(0).id;
    auto used = find("a");
    EXPECT_TRUE(list().at(0).in_use);
    EXPECT_FALSE(cache->remove(id));
    used.reset();
    EXPECT_FALSE(cache->remove("another"));
    EXPECT_TRUE(cache->remove(id));
    EXPECT_FALSE(find("a"));
    flush();
    EXPECT_FALSE(has_step(made));
    EXPECT_EQ(rows("build_cache"), 0);
    EXPECT_THAT(list(), IsEmpty());
}

TEST_F(CacheStoreTest, WhatAKillHasLeftWithoutARecordGoesAtOnce) {
    const auto known = step();
    const auto lost = step();
    const auto held = step();
    keep("a", {known});
    layers->store_steps();
    flush();
    restart();
    const auto hold = layers->hold(held);
    ASSERT_TRUE(has_step(lost));
    const auto mine = step();
    EXPECT_TRUE(find("a"));
    EXPECT_TRUE(has_step(lost)) << "nobody who builds waits for it";
    flush();
    EXPECT_FALSE(has_step(lost));
    EXPECT_FALSE(has_step(held)) << "no name of it is left";
    EXPECT_TRUE(has_step(mine));
    EXPECT_TRUE(has_step(known));
    restart();
    EXPECT_TRUE(find("a"));
    EXPECT_EQ(layers->steps().size(), 1U);
}

TEST_F(CacheStoreTest, AStepThatNobodyKnowsGoesInTheEnd) {
    const auto lost = step();
    const auto held = step();
    const auto hold = layers->hold(held);
    layers->store_steps();
    keep("a", {step()});
    EXPECT_EQ(list().size(), 1U);
    flush();
    EXPECT_TRUE(has_step(lost)) << "somebody may just be making it";
    clock.turn(10min);
    EXPECT_EQ(list().size(), 1U);
    flush();
    EXPECT_FALSE(has_step(lost));
    EXPECT_TRUE(has_step(held));
    EXPECT_TRUE(find("a"));
}

TEST_F(CacheStoreTest, TypesAreBuildKits) {
    const auto frontend = std::make_shared<Vertex>();
    frontend->op.mutable_source()->set_identifier("docker-image://docker/dockerfile:1");
    (*frontend->op.mutable_source()->mutable_attrs())["image.recordtype"] = "frontend";
    keep("a", Results{tree("a", {step()})}, frontend);
    keep("b", {step()}, "git", "git://github.com/x/y");
    keep("c", {step()}, "http", "https://x/y");
    std::vector<std::string> types;
    for (const UsageEntry& each : list()) types.push_back(each.type);
    EXPECT_THAT(types, UnorderedElementsAre("frontend", "source.git.checkout", "regular"));
}

TEST_F(CacheStoreTest, SeveralAtATime) {
    const auto made = step();
    keep("a", {made});
    flush();
    restart();
    run([&]() -> asio::awaitable<void> {
        for (int i = 0; i < 20; ++i) {
            asio::co_spawn(
                loop,
                [&]() -> asio::awaitable<void> {
                    EXPECT_TRUE(co_await cache->find("a"));
                    co_await cache->flush();
                },
                asio::detached);
            asio::co_spawn(
                loop,
                [&, i]() -> asio::awaitable<void> {
                    co_await cache->keep(fmt::format("k{}", i), Results{tree("a", {made})}, vertex("RUN"));
                    co_await cache->sync();
                },
                asio::detached);
        }
        co_return;
    });
    EXPECT_EQ(cache->size(), 1U);
    EXPECT_EQ(rows("build_cache_keys"), 21);
}

TEST_F(CacheStoreTest, BlobsStayWithTheirLayers) {
    const auto cached = [](const oci::Digest& layer) { return images::CachedLayer{.blob = {.digest = layer.text()}, .diff_id = layer}; };
    const oci::Digest lower = base("lower");
    const oci::Digest upper = base("upper");
    keep("one", {lower});
    keep("two", {lower, upper});
    // Of a layer that no record has nothing is kept.
    cache->keep_blobs({cached(lower), cached(upper), cached(content::digest_of("nobody's"))});
    flush();
    EXPECT_EQ(kept_blobs.size(), 2U);
    restart();
    (void)find("one");
    flush();
    EXPECT_EQ(kept_blobs.size(), 2U);
    run([&]() -> asio::awaitable<void> {
        const auto known = co_await cache->look("two");
        EXPECT_TRUE(known && cache->remove(known->record->usage_id));
    });
    flush();
    EXPECT_TRUE(kept_blobs.contains(lower));
    EXPECT_FALSE(kept_blobs.contains(upper));
    // What a kill has left goes with the next load.
    kept_blobs.emplace(upper, cached(upper));
    restart();
    (void)find("one");
    flush();
    EXPECT_TRUE(kept_blobs.contains(lower));
    EXPECT_FALSE(kept_blobs.contains(upper));
}

}  // namespace
}  // namespace grua::build
