#include "base/loop_watch.hpp"

#include <gtest/gtest.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <thread>

namespace grua {
namespace {

using namespace std::chrono_literals;

/// Blocks as a file or a mutex does. A waiting thread uses no processor and waits for none, so a busy machine changes nothing.
void hold(std::chrono::milliseconds time) { std::this_thread::sleep_for(time); }

asio::awaitable<void> hold_after_a_wait(std::chrono::milliseconds time) {
    asio::steady_timer timer{co_await asio::this_coro::executor, 1ms};
    co_await timer.async_wait(asio::use_awaitable);
    hold(time);
}

/// What waited for a processor is subtracted, up to 5 ms before the turn's begin too.
constexpr auto told_within = 6ms;

TEST(LoopWatch, WhoHoldsTheLoopIsNamed) {
    asio::io_context loop{1};
    LoopWatch watch;
    const auto executor = watch.executor(loop);
    asio::post(executor, [] { hold(30ms); });
    loop.run();
    EXPECT_GE(watch.longest().length, 30ms - told_within);
    EXPECT_EQ(watch.longest().name, "gruad");

    watch.begin();
    EXPECT_EQ(watch.longest().length, 0ms);
    loop.restart();
    TurnName of_a_route{executor, "GET /info"};
    asio::co_spawn(of_a_route.executor(), hold_after_a_wait(40ms), asio::detached);
    asio::co_spawn(executor, hold_after_a_wait(3ms), asio::detached);
    loop.run();
    EXPECT_GE(watch.longest().length, 40ms - told_within);
    EXPECT_EQ(watch.longest().name, "GET /info");
}

TEST(LoopWatch, ANameMayChangeWithinItsTurn) {
    asio::io_context loop{1};
    LoopWatch watch;
    TurnName connection{watch.executor(loop), "connection"};
    asio::post(connection.executor(), [&] {
        connection.change("GET /containers/json");
        hold(25ms);
    });
    loop.run();
    EXPECT_EQ(watch.longest().name, "GET /containers/json");
}

TEST(LoopWatch, WaitingForEventsHoldsNothing) {
    asio::io_context loop{1};
    LoopWatch watch;
    asio::steady_timer timer{watch.executor(loop), 60ms};
    timer.async_wait([](const boost::system::error_code&) {});
    loop.run();
    EXPECT_LT(watch.longest().length, 50ms);
}

TEST(LoopWatch, ATurnWithinATurnLendsItItsName) {
    asio::io_context loop{1};
    LoopWatch watch;
    const auto executor = watch.executor(loop);
    TurnName inner{executor, "inner"};
    asio::post(executor, [&] {
        // In the loop's thread this runs at once.
        asio::dispatch(inner.executor(), [] { hold(25ms); });
    });
    loop.run();
    EXPECT_GE(watch.longest().length, 24ms);
    EXPECT_EQ(watch.longest().name, "inner");
}

TEST(LoopWatch, ALoopThatIsNotWatchedHasNoNames) {
    asio::io_context loop{1};
    TurnName name{loop.get_executor(), "x"};
    name.change("y");
    bool ran = false;
    asio::post(name.executor(), [&] { ran = true; });
    loop.run();
    EXPECT_TRUE(ran);
}

TEST(LoopWatch, NamesAreUsedAgain) {
    asio::io_context loop{1};
    LoopWatch watch;
    const auto executor = watch.executor(loop);
    asio::any_io_executor first;
    {
        const TurnName name{executor, "first"};
        first = name.executor();
    }
    const TurnName second{executor, "second"};
    EXPECT_EQ(first, second.executor());
    asio::post(first, [] { hold(3ms); });  // Outlived its owner.
    loop.run();
    EXPECT_EQ(watch.longest().name, "second");
}

}  // namespace
}  // namespace grua
