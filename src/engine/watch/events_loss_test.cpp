#include "base/error.hpp"
#include "engine/watch/events.hpp"

#include <gtest/gtest.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

namespace grua::engine {
namespace {

using Subscription = std::shared_ptr<EventSubscription>;

/// What it gives until its end; "lost" last where that is the reason.
std::vector<std::string> all_of(asio::io_context& loop, const Subscription& subscription) {
    std::vector<std::string> out;
    auto read = [&]() -> asio::awaitable<void> {
        try {
            while (const auto event = co_await subscription->next()) out.push_back(event->id);
        } catch (const Error& error) {
            out.push_back(error.kind() == ErrorKind::unavailable ? "lost" : error.what());
        }
    };
    asio::co_spawn(loop, read(), asio::detached);
    loop.run();
    loop.restart();
    return out;
}

Event event_of(std::string type, std::size_t number) { return {.type = std::move(type), .action = "a", .id = std::to_string(number)}; }

// A15
TEST(Events, who_does_not_read_is_told_that_some_were_lost_and_only_who_wanted_them) {
    asio::io_context loop;
    Events events(loop.get_executor());
    const Subscription behind = events.subscribe({});
    const Subscription other = events.subscribe({{"type", {"volume"}}});
    for (std::size_t i = 0; i < event_limit; ++i) events.publish(event_of("container", i));
    const Subscription late = events.subscribe({});
    events.publish(event_of("volume", 1));
    events.close();
    EXPECT_EQ(all_of(loop, behind), std::vector<std::string>{"lost"});
    EXPECT_EQ(all_of(loop, other), std::vector<std::string>{"1"});
    EXPECT_EQ(all_of(loop, late), std::vector<std::string>{"1"});
}

TEST(Events, who_is_no_more_than_all_behind_gets_all) {
    asio::io_context loop;
    Events events(loop.get_executor());
    const Subscription behind = events.subscribe({});
    for (std::size_t i = 0; i < event_limit; ++i) events.publish(event_of("container", i));
    events.close();
    const auto got = all_of(loop, behind);
    ASSERT_EQ(got.size(), event_limit);
    EXPECT_EQ(got.front(), "0");
    EXPECT_EQ(got.back(), std::to_string(event_limit - 1));
}

// A15: labels are as long as their owners like.
TEST(Events, what_is_kept_is_bounded_in_bytes) {
    asio::io_context loop;
    Events events(loop.get_executor());
    const std::string large(event_memory_limit / 8, 'x');
    for (std::size_t i = 0; i < 100; ++i) {
        Event event = event_of("container", i);
        event.attributes["label"] = large;
        events.publish(std::move(event));
    }
    const Subscription past = events.subscribe({}, Time{});
    events.close();
    const auto got = all_of(loop, past);
    EXPECT_GE(got.size(), 6U);
    EXPECT_LE(got.size(), 8U);
    EXPECT_EQ(got.back(), "99");
    // One that is larger than all there may be is told all the same.
    Events other(loop.get_executor());
    const Subscription first = other.subscribe({});
    Event event = event_of("container", 7);
    event.attributes["label"] = std::string(2 * event_memory_limit, 'x');
    other.publish(std::move(event));
    other.close();
    EXPECT_EQ(all_of(loop, first), std::vector<std::string>{"7"});
}

TEST(Events, one_that_waits_is_woken_by_what_it_wants) {
    asio::io_context loop;
    Events events(loop.get_executor());
    const Subscription volumes = events.subscribe({{"type", {"volume"}}});
    asio::post(loop, [&] {
        events.publish(event_of("container", 1));
        events.publish(event_of("volume", 2));
        events.publish(event_of("container", 3));
        asio::post(loop, [&] {
            events.publish(event_of("volume", 4));
            events.close();
        });
    });
    EXPECT_EQ(all_of(loop, volumes), (std::vector<std::string>{"2", "4"}));
}

}  // namespace
}  // namespace grua::engine
