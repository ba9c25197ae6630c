#include "engine/watch/events.hpp"

#include "base/error.hpp"
#include "base/test_loop.hpp"

#include <gmock/gmock.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

namespace grua::engine {
namespace {

using testing::ElementsAre;

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

TEST(Events, AReaderGoesOnWhereItWas) {
    asio::io_context loop;
    Events events(loop.get_executor());
    const EventPosition before = events.position();
    events.publish({.type = "container", .action = "create", .id = "a"});
    const EventPosition between = events.position();
    events.publish({.type = "container", .action = "start", .id = "a"});
    const auto from_the_beginning = events.subscribe_after({}, before);
    const auto from_between = events.subscribe_after({}, between);
    events.publish({.type = "container", .action = "die", .id = "a"});
    events.close();
    std::vector<std::string> all;
    std::vector<std::string> rest;
    EventPosition last;
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        while (const auto event = co_await from_the_beginning->next()) all.push_back(event->action);
        while (const auto event = co_await from_between->next()) {
            rest.push_back(event->action);
            last = event->position;
        }
    });
    EXPECT_THAT(all, ElementsAre("create", "start", "die"));
    EXPECT_THAT(rest, ElementsAre("start", "die"));
    EXPECT_EQ(last, events.position());
}

TEST(Events, AReaderIsToldThatItMissedSome) {
    asio::io_context loop;
    Events events(loop.get_executor());
    const EventPosition old = events.position();
    for (std::size_t each = 0; each <= event_limit; ++each) events.publish({.type = "daemon", .action = "reload", .id = "x"});
    const auto next_of = [&](EventPosition last) {
        const auto subscription = events.subscribe_after({}, last);
        try {
            run_on_loop(loop, [&]() -> asio::awaitable<void> { static_cast<void>(co_await subscription->next()); });
        } catch (const Error& error) {
            return std::string(error.what());
        }
        return std::string("nothing was lost");
    };
    const std::string lost = "events were lost: they came faster than this client read them";
    EXPECT_EQ(next_of(old), lost);
    // The oldest that is there comes after the one that went last.
    EXPECT_EQ(next_of({.run = old.run, .number = old.number + 1}), "nothing was lost");
    // Of another gruad, or of none.
    EXPECT_EQ(next_of({.run = old.run + 1, .number = old.number + 1}), lost);
    EXPECT_EQ(next_of({.run = old.run, .number = old.number + event_limit + 2}), lost);
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
