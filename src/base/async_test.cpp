#include "base/async.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>
#include <atomic>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <latch>
#include <list>
#include <random>
#include <string>
#include <thread>

namespace grua {
namespace {

using namespace std::chrono_literals;

/// Runs `body` on a loop until nothing is left to do; what it throws is thrown here.
void on_loop(asio::io_context& loop, asio::awaitable<void> body) {
    std::exception_ptr failure;
    asio::co_spawn(loop, std::move(body), [&](const std::exception_ptr& thrown) { failure = thrown; });
    loop.run();
    if (failure) std::rethrow_exception(failure);
}

TEST(Offload, gives_the_result_the_error_and_nothing) {
    asio::io_context loop;
    asio::thread_pool pool(2);
    auto body = [&]() -> asio::awaitable<void> {
        const std::thread::id here = std::this_thread::get_id();
        std::thread::id there;
        EXPECT_EQ(co_await offload(pool, [&] { return there = std::this_thread::get_id(), 3; }), 3);
        EXPECT_NE(there, here);
        EXPECT_EQ(std::this_thread::get_id(), here);
        bool ran = false;
        co_await offload(pool, [&] { ran = true; });
        EXPECT_TRUE(ran);
        std::string text;
        try {
            co_await offload(pool, [] { fail(ErrorKind::conflict, "no"); });
        } catch (const Error& error) {
            text = error.what();
        }
        EXPECT_EQ(text, "no");
        // Neither copied nor made without a value.
        struct Moved {
            explicit Moved(int number) : value(std::make_unique<int>(number)) {}
            std::unique_ptr<int> value;
        };
        const Moved moved = co_await offload(pool, [given = std::make_unique<int>(7)] { return Moved(*given); });
        EXPECT_EQ(*moved.value, 7);
    };
    on_loop(loop, body());
}

TEST(Offload, what_the_work_holds_ends_before_the_caller_goes_on) {
    asio::io_context loop;
    asio::thread_pool pool(1);
    auto held = std::make_shared<int>(0);
    const std::weak_ptr<int> seen = held;
    auto body = [&]() -> asio::awaitable<void> {
        co_await offload(pool, [held = std::move(held)] { return true; });
        EXPECT_TRUE(seen.expired());
    };
    on_loop(loop, body());
}

// A1
TEST(Offload, a_cancelled_caller_waits_for_the_end_of_the_work_and_is_cancelled_then) {
    asio::io_context loop;
    asio::thread_pool pool(1);
    asio::cancellation_signal cancel;
    std::latch begun(1);
    std::latch cancelled(1);
    std::atomic<bool> ended = false;
    bool result_seen = false;
    bool went_on = false;
    std::exception_ptr failure;
    auto body = [&]() -> asio::awaitable<void> {
        const int result = co_await offload(pool, [&] {
            begun.count_down();
            cancelled.wait();
            ended = true;
            return 3;
        });
        result_seen = result == 3 && ended;
        co_await offload(pool, [] {});
        went_on = true;
    };
    asio::co_spawn(loop, body(), asio::bind_cancellation_slot(cancel.slot(), [&](const std::exception_ptr& thrown) { failure = thrown; }));
    asio::post(loop, [&] {
        begun.wait();
        cancel.emit(asio::cancellation_type::terminal);
        EXPECT_FALSE(result_seen);
        cancelled.count_down();
    });
    loop.run();
    EXPECT_TRUE(result_seen) << "what the work made must reach its owner";
    EXPECT_FALSE(went_on);
    ASSERT_TRUE(failure);
    try {
        std::rethrow_exception(failure);
    } catch (const boost::system::system_error& error) {
        EXPECT_EQ(error.code(), asio::error::operation_aborted);
    }
}

// A1: clients that leave while a pool thread works for them, as often as not in the very moment in which it ends.
TEST(Offload, cancellations_at_any_moment_meet_no_pool_thread) {
    constexpr int callers = 200;
    const auto seed = std::random_device{}();
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    asio::io_context loop;
    asio::thread_pool pool(4);
    struct Caller {
        asio::cancellation_signal cancel;
        std::string stack = "the caller's own";
        int turns = 0;
    };
    std::list<Caller> all(callers);
    int ended = 0;
    auto body = [&](Caller& self) -> asio::awaitable<void> {
        for (;;) {
            try {
                for (int turn = ++self.turns;; turn = ++self.turns) {
                    co_await offload(pool, [&self, turn] {
                        if (turn % 3 == 0) std::this_thread::sleep_for(50us);
                        if (turn % 7 == 0) throw Error(ErrorKind::conflict, "now and then");
                        return self.stack.size();
                    });
                }
            } catch (const Error&) {
            }
        }
    };
    for (Caller& each : all) {
        asio::co_spawn(loop, body(each), asio::bind_cancellation_slot(each.cancel.slot(), [&](const std::exception_ptr& thrown) {
                           EXPECT_TRUE(thrown);
                           ++ended;
                       }));
    }
    auto leave = [&]() -> asio::awaitable<void> {
        asio::steady_timer timer(co_await asio::this_coro::executor);
        for (Caller& each : all) {
            timer.expires_after(std::chrono::microseconds(random() % 200));
            co_await timer.async_wait(asio::use_awaitable);
            each.cancel.emit(asio::cancellation_type::terminal);
        }
    };
    on_loop(loop, leave());
    EXPECT_EQ(ended, callers);
}

TEST(Offload, a_loop_that_is_destroyed_under_its_callers_leaves_the_work_alone) {
    asio::thread_pool pool(1);
    std::latch begun(1);
    std::latch go_on(1);
    std::atomic<int> seen = 0;
    {
        asio::io_context loop;
        auto body = [&]() -> asio::awaitable<void> {
            co_await offload(pool, [&, held = std::make_unique<int>(5)] {
                begun.count_down();
                go_on.wait();
                seen = *held;
            });
        };
        asio::co_spawn(loop, body(), asio::detached);
        loop.poll();
        begun.wait();
        go_on.count_down();
        // As gruad ends: first the pool, then the loop that its threads post to.
        pool.join();
    }
    EXPECT_EQ(seen, 5);
}

TEST(ToItsEnd, a_cancellation_does_not_reach_the_task) {
    asio::io_context loop;
    asio::thread_pool pool(1);
    asio::cancellation_signal cancel;
    bool finished = false;
    auto task = [&]() -> asio::awaitable<int> {
        asio::steady_timer timer(co_await asio::this_coro::executor, 5ms);
        co_await timer.async_wait(asio::use_awaitable);
        co_await offload(pool, [] {});
        finished = true;
        co_return 1;
    };
    auto body = [&]() -> asio::awaitable<void> { co_await to_its_end(loop.get_executor(), task()); };
    asio::co_spawn(loop, body(), asio::bind_cancellation_slot(cancel.slot(), asio::detached));
    asio::post(loop, [&] { cancel.emit(asio::cancellation_type::terminal); });
    loop.run();
    EXPECT_TRUE(finished);
}

TEST(ToItsEnd, a_task_is_called_off_and_waited_for) {
    asio::io_context loop;
    asio::cancellation_signal cancel;
    asio::steady_timer bell(loop, asio::steady_timer::time_point::max());
    std::string log;
    auto task = [&]() -> asio::awaitable<std::string> {
        boost::system::error_code rung;
        co_await bell.async_wait(asio::redirect_error(asio::use_awaitable, rung));
        asio::steady_timer clearing(co_await asio::this_coro::executor, 5ms);
        co_await clearing.async_wait(asio::use_awaitable);
        log += "cleared ";
        co_return "ended";
    };
    std::exception_ptr failure;
    auto body = [&]() -> asio::awaitable<void> {
        log += co_await to_its_end(loop.get_executor(), task(), [&] {
            log += "called-off ";
            bell.cancel();
        });
        // It was cancelled, which it hears of now.
        co_await asio::post(loop, asio::use_awaitable);
        log += " and went on";
    };
    asio::co_spawn(loop, body(), asio::bind_cancellation_slot(cancel.slot(), [&](const std::exception_ptr& thrown) { failure = thrown; }));
    asio::post(loop, [&] { asio::post(loop, [&] { cancel.emit(asio::cancellation_type::terminal); }); });
    loop.run();
    EXPECT_EQ(log, "called-off cleared ended");
    EXPECT_TRUE(failure);
}

TEST(ToItsEnd, what_the_task_throws_reaches_who_was_not_cancelled) {
    asio::io_context loop;
    auto task = []() -> asio::awaitable<void> {
        co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
        fail(ErrorKind::conflict, "no");
    };
    auto body = [&]() -> asio::awaitable<void> {
        co_await to_its_end(loop.get_executor(), task(), [] { FAIL() << "nobody cancelled it"; });
    };
    EXPECT_THROW(on_loop(loop, body()), Error);
}

TEST(Lane, the_first_that_came_is_served_first_and_a_cancelled_one_not_at_all) {
    asio::io_context loop;
    Lane lane(loop.get_executor());
    std::string order;
    const auto one = [&](char name) -> asio::awaitable<void> {
        const Lane::Turn turn = co_await lane.take();
        order += name;
        asio::steady_timer pause(loop, 1ms);
        co_await pause.async_wait(asio::use_awaitable);
    };
    std::list<asio::cancellation_signal> signals;
    std::string failed;
    for (const char name : {'a', 'b', 'c', 'd'}) {
        signals.emplace_back();
        asio::co_spawn(loop, one(name), asio::bind_cancellation_slot(signals.back().slot(), [&, name](const std::exception_ptr& thrown) {
                           if (thrown) failed += name;
                       }));
    }
    loop.poll();
    EXPECT_FALSE(lane.try_take());
    std::next(signals.begin(), 2)->emit(asio::cancellation_type::terminal);
    loop.run();
    EXPECT_EQ(order, "abd");
    EXPECT_EQ(failed, "c");
    EXPECT_TRUE(lane.try_take());
}

TEST(Lane, whoever_is_destroyed_with_its_turn_on_the_way_passes_it_on) {
    auto loop = std::make_unique<asio::io_context>();
    Lane lane(loop->get_executor());
    auto first = lane.try_take();
    bool ran = false;
    const auto wait = [&]() -> asio::awaitable<void> {
        const Lane::Turn turn = co_await lane.take();
        ran = true;
    };
    asio::co_spawn(*loop, wait(), asio::detached);
    loop->poll();
    ASSERT_FALSE(lane.try_take());
    first.reset();
    EXPECT_FALSE(lane.try_take());
    loop.reset();
    EXPECT_FALSE(ran);
    EXPECT_TRUE(lane.try_take());
}

}  // namespace
}  // namespace grua
