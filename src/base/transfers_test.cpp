#include "base/transfers.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>
#include <atomic>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

namespace grua {
namespace {

using namespace std::chrono_literals;

TEST(Transfers, gives_the_result_and_the_error) {
    asio::io_context loop;
    Transfers transfers;
    int sum = 0;
    std::string text;
    auto work = [&]() -> asio::awaitable<void> {
        sum = co_await transfers.call(loop.get_executor(), [](const std::stop_token&) { return 3; });
        try {
            co_await transfers.call(loop.get_executor(), [](const std::stop_token&) -> int { fail(ErrorKind::conflict, "no"); });
        } catch (const Error& error) {
            text = error.what();
        }
    };
    asio::co_spawn(loop, work(), asio::detached);
    loop.run();
    EXPECT_EQ(sum, 3);
    EXPECT_EQ(text, "no");
    EXPECT_TRUE(transfers.stop(1s));
}

TEST(Transfers, what_the_work_holds_ends_before_the_caller_goes_on) {
    asio::io_context loop;
    Transfers transfers;
    auto held = std::make_shared<int>(0);
    const std::weak_ptr<int> seen = held;
    bool ended = false;
    auto work = [&]() -> asio::awaitable<void> {
        co_await transfers.call(loop.get_executor(), [held = std::move(held)](const std::stop_token&) { return true; });
        ended = seen.expired();
    };
    asio::co_spawn(loop, work(), asio::detached);
    loop.run();
    EXPECT_TRUE(ended);
}

TEST(Transfers, stop_tells_all_and_says_who_does_not_listen) {
    Transfers transfers;
    std::atomic<bool> let_go = false;
    transfers.start([&](const std::stop_token&) {
        while (!let_go) std::this_thread::sleep_for(1ms);
    });
    EXPECT_FALSE(transfers.stop(20ms));
    let_go = true;
    EXPECT_TRUE(transfers.stop(10s));
    transfers.start([](const std::stop_token& stop) {
        while (!stop.stop_requested()) std::this_thread::sleep_for(1ms);
    });
    EXPECT_TRUE(transfers.stop(10s));
}

}  // namespace
}  // namespace grua
