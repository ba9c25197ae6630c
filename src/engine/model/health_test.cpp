#include "engine/model/health.hpp"

#include <gtest/gtest.h>

namespace grua::engine {
namespace {

using namespace std::chrono_literals;

const Time begun = *parse_time("2026-01-02T03:04:05Z");

HealthResult result(std::chrono::seconds after, int code) {
    return {.start = begun + after, .end = begun + after + 1s, .exit_code = code, .output = std::to_string(code)};
}

TEST(HealthPlan, has_dockers_defaults) {
    const HealthPlan plan{HealthConfig{}};
    EXPECT_EQ(plan.interval, 30s);
    EXPECT_EQ(plan.timeout, 30s);
    EXPECT_EQ(plan.start_period, 0s);
    EXPECT_EQ(plan.retries, 3);
    EXPECT_EQ(plan.pause({.status = HealthStatus::starting}, 0s), 30s) << "without a start period its interval has no meaning";
}

TEST(HealthPlan, looks_more_often_within_the_start_period) {
    HealthConfig config;
    config.interval = std::chrono::nanoseconds(20s).count();
    config.start_period = std::chrono::nanoseconds(10s).count();
    config.start_interval = std::chrono::nanoseconds(1s).count();
    const HealthPlan plan{config};
    EXPECT_EQ(plan.pause({.status = HealthStatus::starting}, 9s), 1s);
    EXPECT_EQ(plan.pause({.status = HealthStatus::starting}, 10s), 20s);
    EXPECT_EQ(plan.pause({.status = HealthStatus::healthy}, 2s), 20s);
}

TEST(HealthPlan, what_is_due_at_about_the_same_time_is_due_together) {
    using Point = std::chrono::steady_clock::time_point;
    EXPECT_EQ(together(Point{10s}, 1s), Point{10s});
    EXPECT_EQ(together(Point{10s + 24ms}, 1s), Point{10s});
    EXPECT_EQ(together(Point{10s + 26ms}, 1h), Point{10s + 50ms});
    EXPECT_EQ(together(Point{10s + 26ms}, 100ms), Point{10s + 25ms});
    EXPECT_EQ(together(Point{10s + 26ms}, 19ns), Point{10s + 26ms});
    // Checks without end that take a moment each come as often as without it.
    Point at{10s};
    for (int i = 0; i < 20; ++i) at = together(at + 3ms + 1s, 1s);
    EXPECT_EQ(at, Point{30s});
}

TEST(Health, failures_count_after_the_start_period_or_the_first_success) {
    HealthConfig config;
    config.start_period = std::chrono::nanoseconds(10s).count();
    config.retries = 2;
    const HealthPlan plan{config};
    Health health{.status = HealthStatus::starting};
    take_result(health, result(5s, 1), plan, begun);
    take_result(health, result(6s, 1), plan, begun);
    EXPECT_EQ(health.status, HealthStatus::starting);
    EXPECT_EQ(health.failing_streak, 0);
    take_result(health, result(7s, 0), plan, begun);
    EXPECT_EQ(health.status, HealthStatus::healthy);
    take_result(health, result(8s, 1), plan, begun);
    EXPECT_EQ(health.failing_streak, 1) << "it has been healthy, so this is no start any more";
    EXPECT_EQ(health.status, HealthStatus::healthy);
    take_result(health, result(9s, -1), plan, begun);
    EXPECT_EQ(health.status, HealthStatus::unhealthy);
    take_result(health, result(12s, 0), plan, begun);
    EXPECT_EQ(health.status, HealthStatus::healthy);
    EXPECT_EQ(health.failing_streak, 0);
    ASSERT_EQ(health.log->size(), 5U);
    EXPECT_EQ(health.log->front().start, begun + 6s);
    EXPECT_EQ(health.log->back().output, "0");
}

TEST(Health, the_command_of_each_kind) {
    ContainerConfig config;
    EXPECT_TRUE(health_command(config).empty());
    config.healthcheck = HealthConfig{.test = {"NONE"}};
    EXPECT_TRUE(health_command(config).empty());
    config.healthcheck->test = {"CMD", "a", "b c"};
    EXPECT_EQ(health_command(config), (StringList{"a", "b c"}));
    config.healthcheck->test = {"CMD-SHELL", "a b"};
    EXPECT_EQ(health_command(config), (StringList{"/bin/sh", "-c", "a b"}));
    config.shell = {"/bin/bash", "-lc"};
    EXPECT_EQ(health_command(config), (StringList{"/bin/bash", "-lc", "a b"}));
    config.healthcheck->test = {"cmd", "a"};
    EXPECT_TRUE(health_command(config).empty());
    EXPECT_THROW(check_health(*config.healthcheck), Error);
    EXPECT_NO_THROW(check_health({.test = {"NONE"}, .on_failure = "restart"}));
    EXPECT_THROW(check_health({.on_failure = "reboot"}), Error);
}

TEST(Health, is_shown_behind_the_status) {
    State state;
    state.status = Status::running;
    state.started_at = begun;
    const auto text = [&](HealthStatus status) {
        state.health.status = status;
        return status_text(state, begun + 5s);
    };
    EXPECT_EQ(text(HealthStatus::none), "Up 5 seconds");
    EXPECT_EQ(text(HealthStatus::starting), "Up 5 seconds (health: starting)");
    EXPECT_EQ(text(HealthStatus::healthy), "Up 5 seconds (healthy)");
    EXPECT_EQ(text(HealthStatus::unhealthy), "Up 5 seconds (unhealthy)");
    state.status = Status::paused;
    EXPECT_EQ(text(HealthStatus::unhealthy), "Up 5 seconds (Paused)");
}

}  // namespace
}  // namespace grua::engine
