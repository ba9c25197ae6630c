// When a container's health is looked at, and what the results make of it. Pure: no clock, no process.
#pragma once

#include "engine/model/probe.hpp"
#include "engine/model/record.hpp"

#include <chrono>

namespace grua::engine {

/// So much of what a check says is kept; of more the beginning, and "..." behind it.
inline constexpr std::size_t health_output_limit = 4096;

/// A HealthConfig with Docker's defaults where it says nothing.
struct HealthPlan {
    explicit HealthPlan(const HealthConfig& config);

    std::chrono::nanoseconds interval;
    std::chrono::nanoseconds timeout;
    std::chrono::nanoseconds start_period;
    std::chrono::nanoseconds start_interval;
    std::int64_t retries;

    /// From the end of one check, or the start of the program, to the next check.
    std::chrono::nanoseconds pause(const Health& health, std::chrono::nanoseconds since_start) const;
};

/// `due`, moved by a fortieth of the pause before it and by 25 ms at most, so that what is due at about the same time in many containers
/// takes one wake-up.
std::chrono::steady_clock::time_point together(std::chrono::steady_clock::time_point due, std::chrono::nanoseconds pause);

/// The check's program and its arguments; empty where it is none, as where an image has a kind of check that there is not.
StringList health_command(const ContainerConfig& config);

/// Nothing where it is a program, or where nothing is checked.
std::optional<Probe> health_probe(const ContainerConfig& config);

/// What is done for a check: a program, or a probe. Taken out of the container's configuration once for all checks of a run.
struct HealthCheck {
    explicit HealthCheck(const ContainerConfig& config) : command(health_command(config)), probe(health_probe(config)) {}
    StringList command;
    std::optional<Probe> probe;
};

inline bool is_checked(const ContainerConfig& config) { return !health_command(config).empty() || health_probe(config).has_value(); }

/// Throws Error(invalid_argument).
void check_health(const HealthConfig& config);

/// Nothing is checked for now, as while it is paused or has ended: Docker calls that unhealthy, and tells nobody.
void stop_health(Health& health);

/// What `result` makes of `health`: a failure within the start period does not count until the first success.
void take_result(Health& health, HealthResult result, const HealthPlan& plan, Time started_at);

}  // namespace grua::engine
