#include "engine/watch/events.hpp"

#include <gmock/gmock.h>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

namespace grua::engine {
namespace {

using testing::ElementsAre;

template <typename Body>
void run_on_loop(asio::io_context& loop, Body body) {
    std::exception_ptr failure;
    asio::co_spawn(loop, body(), [&](const std::exception_ptr& thrown) { failure = thrown; });
    loop.run();
    loop.restart();
    if (failure) std::rethrow_exception(failure);
}

TEST(Events, ReplayFollowAndFilter) {
    asio::io_context loop;
    Events events(loop.get_executor());
    const Time start = now();
    events.publish({.type = "container", .action = "create", .id = "abc", .attributes = {{"name", "web"}, {"image", "i"}}});
    events.publish({.type = "volume", .action = "create", .id = "v"});
    const auto subscription = events.subscribe({{"type", {"container"}}, {"container", {"web"}}}, start);
    std::vector<std::string> seen;
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        asio::co_spawn(
            loop,
            [&]() -> asio::awaitable<void> {
                events.publish({.type = "container", .action = "exec_create: sh", .id = "abc", .attributes = {{"name", "web"}}});
                events.publish({.type = "container", .action = "start", .id = "other"});
                events.close();
                co_return;
            },
            asio::detached);
        while (const auto event = co_await subscription->next()) seen.push_back(event->action);
    });
    EXPECT_THAT(seen, ElementsAre("create", "exec_create: sh"));
}

TEST(Events, UntilInThePastEnds) {
    asio::io_context loop;
    Events events(loop.get_executor());
    events.publish({.type = "daemon", .action = "reload", .id = "x"});
    const auto subscription = events.subscribe({}, Time{}, now());
    int seen = 0;
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        while (co_await subscription->next()) ++seen;
    });
    EXPECT_EQ(seen, 1);
}

}  // namespace
}  // namespace grua::engine
