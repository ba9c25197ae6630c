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

    ContextStore contexts{directory + "/contexts", "boot"};
    CacheMounts mounts{loop.get_executor(), pool, clock, directory + "/mounts"};
    int removed = 0;
    Usage usage{loop.get_executor(), pool, clock, {*cache, contexts, mounts}, {directory, [this] { ++removed; }}};
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
        EXPECT_EQ(removed, 1);
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
        EXPECT_EQ(removed, 3);
        request.set_reservedspace(-1);
        EXPECT_EQ(co_await client.refusal(control + "Prune", request), "reservedSpace: -1 is negative");
    });
    restart();
    EXPECT_FALSE(find("make"));
}

TEST_F(UsageTest, TheCollectionTakesTheOldest) {
    run([&]() -> asio::awaitable<void> {
        PruneOptions options{.all = true, .unused = 30min};
        std::vector<std::string> would;
        for (const UsageEntry& each : co_await usage.would_prune(options)) would.push_back(each.description);
        EXPECT_THAT(would, testing::Contains("cached mount /root/.cache"));
        EXPECT_THAT(would, testing::Not(testing::Contains("RUN make")));
        const auto first = co_await usage.collect(30min, 1204);
        // How old the folder is the file system says.
        EXPECT_THAT(first.bytes, testing::AnyOf(3U, 7U, 10U));
        const auto all = co_await usage.collect(0s, 0);
        EXPECT_EQ(first.ids.size() + all.ids.size(), 4U);
        EXPECT_EQ(first.bytes + all.bytes, 1210U);
        EXPECT_TRUE((co_await usage.list()).empty());
    });
}

}  // namespace
}  // namespace grua::build
