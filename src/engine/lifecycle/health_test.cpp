#include "engine/lifecycle/test_ground.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace grua::engine {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class HealthTest : public testing::Test {
protected:
    ContainerPtr started(const std::function<void(HealthConfig&)>& change = {}) {
        container = world.add("a", [&](ContainerRecord& record) {
            HealthConfig& health = record.config.healthcheck.emplace();
            health.test = {"CMD-SHELL", "is-well"};
            health.interval = std::chrono::nanoseconds(10s).count();
            health.timeout = std::chrono::nanoseconds(3s).count();
            health.retries = 2;
            if (change) change(health);
        });
        start();
        return container;
    }
    void start() {
        world.run([&]() -> asio::awaitable<void> { co_await world.life->start("a"); });
        world.settle();
    }
    const Health& health() const { return container->record->state.health; }
    std::size_t checks() const { return world.tasks.last->execs.size(); }
    void answer(int code, std::string_view output = {}) {
        world.tasks.last->end_exec(code, output);
        world.settle();
    }
    void check_and_answer(int code, std::string_view output = {}) {
        const std::size_t before = checks();
        world.turn(10s);
        ASSERT_EQ(checks(), before + 1);
        answer(code, output);
    }
    std::vector<std::string> told() {
        std::vector<std::string> out;
        const auto subscription = world.life->events.subscribe({}, Time{}, now());
        world.run([&]() -> asio::awaitable<void> {
            while (const std::optional<Event> event = co_await subscription->next())
                if (event->action.starts_with("health_status")) out.push_back(event->action);
        });
        return out;
    }
    void end() {
        world.tasks.last->end(0);
        world.settle();
    }

    World world;
    ContainerPtr container;
};

TEST_F(HealthTest, ItsChecksSayHowItIs) {
    started();
    EXPECT_EQ(health().status, HealthStatus::starting);
    world.turn(9s);
    EXPECT_EQ(checks(), 0U);
    world.turn(1s);
    ASSERT_EQ(checks(), 1U);
    EXPECT_EQ(world.tasks.last->execs[0].process.args, (StringList{"/bin/sh", "-c", "is-well"}));
    EXPECT_TRUE(container->record->exec_ids.empty());
    answer(0, "fine\xff\n");
    EXPECT_EQ(health().status, HealthStatus::healthy);
    ASSERT_EQ(health().log->size(), 1U);
    EXPECT_EQ(health().log->front().output, "fine\uFFFD\n");
    check_and_answer(1);
    EXPECT_EQ(health().status, HealthStatus::healthy);
    EXPECT_EQ(health().failing_streak, 1);
    check_and_answer(7);
    EXPECT_EQ(health().status, HealthStatus::unhealthy);
    EXPECT_EQ(health().log->back().exit_code, 7);
    check_and_answer(0);
    EXPECT_EQ(health().status, HealthStatus::healthy);
    EXPECT_EQ(told(), (std::vector<std::string>{"health_status: healthy", "health_status: unhealthy", "health_status: healthy"}));
    end();
    EXPECT_EQ(health().status, HealthStatus::unhealthy) << "as Docker calls what is no longer looked at";
    const std::size_t before = checks();
    world.turn(60s);
    EXPECT_EQ(checks(), before);
}

TEST_F(HealthTest, OneThatTakesTooLongHasFailed) {
    started();
    world.turn(10s);
    world.turn(3s);
    answer(137, "waits");
    EXPECT_EQ(health().log->back().exit_code, -1);
    EXPECT_EQ(health().log->back().output, "Health check exceeded timeout (3s): waits");
    world.turn(9s);
    EXPECT_EQ(checks(), 1U) << "the next is due an interval after the end of the last";
    world.turn(1s);
    EXPECT_EQ(checks(), 2U);
    answer(0);
    end();
}

TEST_F(HealthTest, OneThatCannotBeStartedHasFailed) {
    started();
    world.notes.fail_at("exec");
    world.turn(10s);
    EXPECT_EQ(health().failing_streak, 1);
    EXPECT_THAT(health().log->back().output, HasSubstr("exec failed"));
    check_and_answer(0);
    EXPECT_EQ(health().status, HealthStatus::healthy);
    end();
}

TEST_F(HealthTest, AProbeTakesNoProgram) {
    started([](HealthConfig& health) { health.test = {"TCP", "localhost:80"}; });
    const auto say = [&](ProbeAnswer answer) {
        world.probes.answer(std::move(answer));
        world.settle();
    };
    world.turn(10s);
    ASSERT_EQ(world.probes.asked.size(), 1U);
    EXPECT_EQ(world.probes.asked[0].port, 80);
    say({.is_well = true, .said = "connected"});
    EXPECT_EQ(health().status, HealthStatus::healthy);
    EXPECT_EQ(health().log->back().exit_code, 0);
    world.turn(10s);
    say({.said = "refused\xff"});
    EXPECT_EQ(health().log->back().exit_code, 1);
    EXPECT_EQ(health().log->back().output, "refused\uFFFD");
    world.turn(10s);
    say({.timed_out = true});
    EXPECT_EQ(health().log->back().exit_code, -1);
    EXPECT_EQ(health().log->back().output, "Health check exceeded timeout (3s)");
    EXPECT_EQ(health().status, HealthStatus::unhealthy);
    EXPECT_EQ(checks(), 0U);
    world.turn(10s);
    end();
    EXPECT_FALSE(container->end_check) << "an end ends the probe that is under way";
}

TEST_F(HealthTest, NothingIsCheckedWhileItIsPaused) {
    started();
    check_and_answer(0);
    world.run([&]() -> asio::awaitable<void> { co_await world.life->pause("a"); });
    world.turn(60s);
    EXPECT_EQ(checks(), 1U);
    world.run([&]() -> asio::awaitable<void> { co_await world.life->unpause("a"); });
    world.settle();
    check_and_answer(0);
    EXPECT_EQ(health().status, HealthStatus::healthy);
    end();
}

TEST_F(HealthTest, ARunBeginsAnew) {
    started();
    check_and_answer(1);
    check_and_answer(1);
    EXPECT_EQ(health().status, HealthStatus::unhealthy);
    world.turn(10s);  // A check is under way.
    const auto last = world.tasks.last;
    end();
    start();
    EXPECT_EQ(health().status, HealthStatus::starting);
    EXPECT_EQ(health().failing_streak, 0);
    last->end_exec(0, "of the run before");
    world.settle();
    EXPECT_EQ(health().status, HealthStatus::starting);
    check_and_answer(0);
    EXPECT_EQ(health().status, HealthStatus::healthy);
    end();
}

TEST_F(HealthTest, OneThatStaysUnhealthyIsRestartedLessAndLessOften) {
    started([](HealthConfig& health) {
        health.on_failure = "restart";
        health.retries = 1;
    });
    const auto fails = [&] {
        world.turn(10s);
        answer(1);
    };
    const auto ends_by_its_stop = [&] { world.tasks.last->end(0); };
    const std::uint64_t first = container->round;
    fails();
    ends_by_its_stop();
    world.settle();
    EXPECT_EQ(container->round, first + 1) << "at once";
    fails();
    world.turn(900ms);
    EXPECT_EQ(world.notes.count("signal 15 a"), 1);
    world.turn(100ms);
    EXPECT_EQ(world.notes.count("signal 15 a"), 2) << "a second later";
    ends_by_its_stop();
    world.settle();
    EXPECT_EQ(container->round, first + 2);
    check_and_answer(0);
    fails();
    EXPECT_EQ(world.notes.count("signal 15 a"), 3) << "it has been well meanwhile";
    ends_by_its_stop();
    world.settle();
    end();
}

TEST_F(HealthTest, OneThatIsUnhealthyIsKilledOrStoppedWhereThatIsAskedFor) {
    started([](HealthConfig& health) {
        health.on_failure = "kill";
        health.retries = 1;
    });
    check_and_answer(1);
    EXPECT_EQ(world.status(container), Status::exited);
    EXPECT_EQ(container->record->state.exit_code, 137);
    EXPECT_FALSE(container->record->stopped_by_user);
    container->update([](ContainerRecord& next) { next.config.healthcheck->on_failure = "stop"; });
    start();
    check_and_answer(1);
    EXPECT_EQ(world.notes.count("signal 15 a"), 1);
    end();
    EXPECT_TRUE(container->record->stopped_by_user);
}

TEST_F(HealthTest, TheStartPeriodHasAnIntervalOfItsOwn) {
    started([](HealthConfig& health) {
        health.start_period = std::chrono::nanoseconds(20s).count();
        health.start_interval = std::chrono::nanoseconds(1s).count();
    });
    for (int i = 0; i < 4; ++i) {
        world.turn(1s);
        answer(1);
    }
    EXPECT_EQ(checks(), 4U);
    EXPECT_EQ(health().failing_streak, 0);
    world.turn(1s);
    answer(0);
    EXPECT_EQ(health().status, HealthStatus::healthy);
    world.turn(9s);
    EXPECT_EQ(checks(), 5U);
    end();
}

}  // namespace
}  // namespace grua::engine
