#include "engine/model/health.hpp"

#include <algorithm>

namespace grua::engine {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t default_retries = 3;
constexpr std::size_t kept_results = 5;
constexpr std::chrono::nanoseconds longest_step = 50ms;

std::chrono::nanoseconds time_or(std::int64_t value, std::chrono::nanoseconds otherwise) {
    return value > 0 ? std::chrono::nanoseconds(value) : otherwise;
}

}  // namespace

HealthPlan::HealthPlan(const HealthConfig& config)
    : interval(time_or(config.interval, 30s)),
      timeout(time_or(config.timeout, 30s)),
      start_period(time_or(config.start_period, 0s)),
      start_interval(time_or(config.start_interval, 5s)),
      retries(config.retries > 0 ? config.retries : default_retries) {}

std::chrono::nanoseconds HealthPlan::pause(const Health& health, std::chrono::nanoseconds since_start) const {
    return since_start < start_period && health.status == HealthStatus::starting ? start_interval : interval;
}

std::chrono::steady_clock::time_point together(std::chrono::steady_clock::time_point due, std::chrono::nanoseconds pause) {
    const std::chrono::nanoseconds step = std::min(pause / 20, longest_step);
    if (step <= 0ns) return due;
    return std::chrono::steady_clock::time_point{(due.time_since_epoch() + step / 2) / step * step};
}

StringList health_command(const ContainerConfig& config) {
    if (!config.healthcheck || config.healthcheck->test.empty()) return {};
    const StringList& test = config.healthcheck->test;
    if (test.front() != "CMD" && test.front() != "CMD-SHELL") return {};
    StringList out;
    if (test.front() == "CMD-SHELL") out = config.shell.empty() ? StringList{"/bin/sh", "-c"} : config.shell;
    out.insert(out.end(), test.begin() + 1, test.end());
    return out;
}

std::optional<Probe> health_probe(const ContainerConfig& config) {
    if (!config.healthcheck) return std::nullopt;
    try {
        return parse_probe(config.healthcheck->test);
    } catch (const Error&) {
        return std::nullopt;  // Of an image: a request's was checked.
    }
}

void check_health(const HealthConfig& config) {
    const auto is_one_of = [](std::string_view word, std::initializer_list<std::string_view> known) {
        return std::ranges::find(known, word) != known.end();
    };
    if (!parse_probe(config.test) && !config.test.empty() && !is_one_of(config.test.front(), {"NONE", "CMD", "CMD-SHELL"}))
        fail(ErrorKind::invalid_argument, "Healthcheck.Test: unknown kind \"{}\" (CMD, CMD-SHELL, HTTP, TCP, FILE and NONE are known)",
             config.test.front());
    if (!is_one_of(config.on_failure, {"", "none", "kill", "restart", "stop"}))
        fail(ErrorKind::invalid_argument, "Healthcheck.OnFailure: \"{}\" is none of none, kill, restart and stop", config.on_failure);
}

void stop_health(Health& health) {
    if (health.status != HealthStatus::none) health.status = HealthStatus::unhealthy;
}

void take_result(Health& health, HealthResult result, const HealthPlan& plan, Time started_at) {
    if (result.exit_code == 0) {
        health.failing_streak = 0;
        health.status = HealthStatus::healthy;
    } else if (health.status != HealthStatus::starting || result.start - started_at >= plan.start_period) {
        ++health.failing_streak;
        if (health.failing_streak >= plan.retries) health.status = HealthStatus::unhealthy;
    }
    auto log = health.log ? std::make_shared<std::vector<HealthResult>>(*health.log) : std::make_shared<std::vector<HealthResult>>();
    if (log->size() >= kept_results) log->erase(log->begin());
    log->push_back(std::move(result));
    health.log = std::move(log);
}

}  // namespace grua::engine
