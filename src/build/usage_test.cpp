#include "build/usage.hpp"

#include "build/test_cache.hpp"
#include "build/test_calls.hpp"

#include <gmock/gmock.h>

namespace grua::build {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

const std::string control = "/moby.buildkit.v1.Control/";

class UsageTest : public WithCache {
protected:
    UsageTest() {
        usage.add_to(services);
        history.add_to(services);
        // Of three kinds, the steps on each other.
        const auto install = step(1000);
        const auto make = step(200);
        keep("install", {install}, "RUN install");
        keep("make", {install, make}, "RUN make");
        {
            const auto context = contexts.take("folder");
            replace_file(context->folder() + "/file", "1234567");
            TreeIndex index;
            index["file"] = {.size = 7};
            context->keep(std::move(index));
        }
        run([&]() -> asio::awaitable<void> {
            const auto mount = co_await mounts.take({.id = "go", .description = "cached mount /root/.cache"});
            replace_file(mount->folder() + "/file", "123");
            mount->keep();
        });
        clock.turn(1h);
        EXPECT_TRUE(find("make"));
    }

    asio::awaitable<std::vector<std::string>> usage_of(std::vector<std::string> filters, std::chrono::nanoseconds age = {}) {
        wire::control::DiskUsageRequest request;
        for (const std::string& each : filters) request.add_filter(each);
        request.set_agelimit(age.count());
        std::vector<std::string> out;
        const auto answer = co_await client.ask<wire::control::DiskUsageResponse>(control + "DiskUsage", request);
        for (const auto& each : answer.record()) out.push_back(fmt::format("{} {}", each.description(), each.size()));
        co_return out;
    }
    asio::awaitable<std::vector<std::string>> prune(wire::control::PruneRequest request) {
        std::vector<std::string> out;
        for (const auto& each : co_await client.ask_all<wire::control::UsageRecord>(control + "Prune", request))
            out.push_back(each.description());
        co_return out;
    }

    /// Of a web server and a repository, and what a build has told.
    void fetch_and_tell() {
        const Fd file = downloads.new_file();
        write_all(file.get(), "12345", "a file");
        downloads.keep("key", "https://h/file", content::digest_of("12345"), {.etag = "1"}, file.get());
        const auto repository = repositories.open(git, "https://h/r.git", false, {});
        replace_file(repository->folder() + "/format", "sha1");
        run([&]() -> asio::awaitable<void> { co_await build("one"); });
    }
    asio::awaitable<void> build(std::string ref) {
        wire::control::SolveRequest request;
        request.set_ref(ref);
        request.set_frontend("dockerfile.v0");
        history.began(request);
        Journal journal(loop.get_executor(), clock);
        journal.step_started("d", "[1/2] RUN make");
        co_await history.ended(ref, journal, {.exporter_response = {{"image.name", "made:1"}}});
        co_await history.flushed();
    }
    asio::awaitable<void> pin(std::string ref) {
        wire::control::UpdateBuildHistoryRequest request;
        request.set_ref(ref);
        request.set_pinned(true);
        (void)co_await client.ask<wire::control::UpdateBuildHistoryResponse>(control + "UpdateBuildHistory", request);
    }
    std::vector<std::string> collect(const engine::CollectionFacts& facts) {
        std::vector<std::string> out;
        run([&]() -> asio::awaitable<void> {
            for (const auto& each : co_await usage.collect(facts)) {
                const bool leaves = each.verdict == images::Decision::Verdict::remove;
                out.push_back(fmt::format("{} {} {} {}: {}", leaves ? "remove" : "keep", each.kind, each.name, each.size, each.reason));
            }
        });
        return out;
    }
    static engine::CollectionFacts full() {
        return {.policy = {.keep = 30min}, .disk = {.used = 9000, .total = 10000}, .leaving_images = {}};
    }

    ContextStore contexts{directory + "/contexts", "boot"};
    CacheMounts mounts{loop.get_executor(), pool, clock, directory + "/mounts"};
    HttpCache downloads{directory + "/http", 1U << 30U, "boot"};
    GitProgram git{{.folder = directory + "/git"}};
    GitCache repositories{directory + "/git", 1U << 30U};
    content::ContentStore content{directory + "/content"};
    History history{loop.get_executor(), pool, clock, *database, content, directory + "/history"};
    Usage usage{loop.get_executor(), pool, clock, {*cache, contexts, mounts, downloads, repositories, history}, directory};
    grpc::Services services;
    ServiceClient client{loop, services};
};

TEST_F(UsageTest, AllKindsAreListed) {
    client.run([&]() -> asio::awaitable<void> {
        EXPECT_THAT(co_await usage_of({}),
                    UnorderedElementsAre("RUN install 1000", "RUN make 200", "local source for folder 7", "cached mount /root/.cache 3"));
        EXPECT_THAT(co_await usage_of({"type==source.local"}), ElementsAre("local source for folder 7"));
        EXPECT_THAT(co_await usage_of({"description~=make", "mutable,type~=mount"}),
                    UnorderedElementsAre("RUN make 200", "cached mount /root/.cache 3"));
        EXPECT_THAT(co_await usage_of({"inuse"}), IsEmpty());
        EXPECT_THAT(co_await usage_of({"immutable"}, 10min), ElementsAre("RUN install 1000"));
        wire::control::DiskUsageRequest wrong;
        wrong.add_filter("type=");
        EXPECT_NE(co_await client.refusal(control + "DiskUsage", wrong), "");
    });
}

TEST_F(UsageTest, WhatIsUsedStays) {
    auto used = find("make");
    auto context = contexts.take("folder");
    client.run([&]() -> asio::awaitable<void> {
        EXPECT_THAT(co_await usage_of({"inuse"}), UnorderedElementsAre("RUN install 1000", "RUN make 200", "local source for folder 7"));
        EXPECT_THAT(co_await prune({}), ElementsAre("cached mount /root/.cache"));
        EXPECT_EQ(collected, 0);
        used.reset();
        context.reset();
        wire::control::PruneRequest request;
        request.set_maxusedspace(500);
        EXPECT_THAT(co_await usage_of({}), UnorderedElementsAre("RUN install 1000", "RUN make 200", "local source for folder 7"));
        request.add_filter("type==regular");
        EXPECT_THAT(co_await prune(request), ElementsAre("RUN make", "RUN install"));
        EXPECT_THAT(layers->steps(), IsEmpty());
        EXPECT_THAT(co_await prune({}), ElementsAre("local source for folder"));
        EXPECT_THAT(co_await usage_of({}), IsEmpty());
        EXPECT_THAT(co_await prune({}), IsEmpty());
        EXPECT_EQ(collected, 1);
        request.set_reservedspace(-1);
        EXPECT_EQ(co_await client.refusal(control + "Prune", request), "reservedSpace: -1 is negative");
    });
    restart();
    EXPECT_FALSE(find("make"));
}

TEST_F(UsageTest, WhatWasFetchedAndToldIsListedAndPruned) {
    fetch_and_tell();
    client.run([&]() -> asio::awaitable<void> {
        const auto all = co_await usage_of({});
        EXPECT_EQ(all.size(), 7U);
        EXPECT_THAT(all, testing::IsSupersetOf({"http url https://h/file 5", "shared git repo for https://h/r.git 19"}));
        EXPECT_THAT(co_await usage_of({"type==internal"}), ElementsAre(testing::StartsWith("history of 1 builds ")));
        EXPECT_THAT(co_await usage_of({"inuse"}), IsEmpty());
        // What builds have told goes with all.
        auto used = std::optional(repositories.open(git, "https://h/r.git", false, {}));
        EXPECT_THAT(co_await prune({}), testing::AllOf(testing::SizeIs(5), testing::Contains("http url https://h/file")));
        used.reset();
        EXPECT_THAT(co_await prune({}), ElementsAre("shared git repo for https://h/r.git"));
        co_await build("two");
        co_await pin("two");
        EXPECT_THAT(co_await usage_of({"inuse"}), ElementsAre(testing::StartsWith("history of 1 pinned builds ")));
        wire::control::PruneRequest request;
        request.set_all(true);
        EXPECT_THAT(co_await prune(request), ElementsAre("history of 1 builds"));
        EXPECT_EQ((co_await history.kept()).size(), 1U);
    });
    EXPECT_TRUE(downloads.list().empty());
    EXPECT_TRUE(repositories.list().empty());
}

TEST_F(UsageTest, TheCollectionTakesTheOldest) {
    fetch_and_tell();
    engine::CollectionFacts facts = full();
    facts.disk.used = 5000;
    for (const std::string& each : collect(facts)) EXPECT_THAT(each, testing::StartsWith("keep"));
    facts.explained = engine::Explained::removals;
    EXPECT_THAT(collect(facts), IsEmpty()) << "nobody reads it";
    facts = full();
    facts.mode = images::GcMode::dry_run;
    const auto dry = collect(facts);
    EXPECT_EQ(dry.size(), 7U);
    EXPECT_THAT(dry, testing::Contains("remove build-cache cached mount /root/.cache 3: unused for 1 hour"));
    EXPECT_THAT(dry, testing::Contains("keep build-cache RUN make 200: used 0 seconds ago, kept for 30 minutes"));
    EXPECT_THAT(dry, testing::Contains(testing::MatchesRegex("keep build-history made:1 [0-9]+: used 0 seconds ago, kept for 30 minutes")));
    EXPECT_EQ(collected, 0);
    facts.mode = images::GcMode::real;
    EXPECT_EQ(collect(facts), dry);
    EXPECT_EQ(collected, 0) << "no layer went";
    EXPECT_TRUE(find("make"));
    clock.turn(1h);
    const auto real = collect(facts);
    EXPECT_THAT(real, testing::Contains("remove build-cache RUN make 200: unused for 1 hour"));
    EXPECT_THAT(real, testing::Contains("remove build-cache RUN install 1000: unused for 2 hours"));
    EXPECT_THAT(layers->steps(), IsEmpty());
    EXPECT_EQ(collected, 1);
    EXPECT_FALSE(find("make"));
}

TEST_F(UsageTest, WhatBuildsUseIsNotCollected) {
    fetch_and_tell();
    clock.turn(48h);
    const auto used = find("install");
    run([&]() -> asio::awaitable<void> {
        const auto mount = co_await mounts.take({.id = "go", .description = {}});
        const auto context = contexts.take("folder");
        engine::CollectionFacts facts = full();
        facts.policy.keep = 0s;
        facts.disk.used = facts.disk.total = 1U << 30U;
        std::vector<std::string> kept;
        for (const auto& each : co_await usage.collect(facts))
            if (each.verdict == images::Decision::Verdict::keep) kept.push_back(each.name + ": " + each.reason);
        EXPECT_THAT(kept, UnorderedElementsAre("RUN install: a build uses it", "cached mount /root/.cache: a build uses it",
                                               "local source for folder: a build uses it"));
        EXPECT_TRUE(std::filesystem::exists(mount->folder() + "/file"));
    });
    EXPECT_EQ(layers->steps().size(), 1U);
}

}  // namespace
}  // namespace grua::build
