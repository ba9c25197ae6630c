// Whether a running container is well: its check is run again and again, as long as it runs.
//
// A check is a further program of the task that nobody sees: it is in no list of execs and no event but `health_status` tells of it.
// Or it is a probe, which takes no program in the container.
#include "base/id.hpp"
#include "base/log.hpp"
#include "base/utf8.hpp"
#include "engine/lifecycle/lifecycle.hpp"
#include "engine/model/health.hpp"

#include <algorithm>
#include <csignal>

namespace grua::engine {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::seconds shortest_pause = 1s;
constexpr std::chrono::seconds longest_pause = 60s;

std::string duration_text(std::chrono::nanoseconds time) {
    const double seconds = std::chrono::duration<double>(time).count();
    return seconds < 1 ? fmt::format("{}ms", std::chrono::duration_cast<std::chrono::milliseconds>(time).count())
                       : fmt::format("{:g}s", seconds);
}

tasks::TaskPtr running_task(const Container& container) {
    if (!container.task) fail(ErrorKind::conflict, "container {} is not running", container.id());
    return container.task;
}

}  // namespace

void Lifecycle::begin_health(const ContainerPtr& container) {
    if (!is_checked(container->record->config)) return;
    spawn(watch_health(container), fmt::format("container {}: its health check", short_id(container->id())));
}

asio::awaitable<void> Lifecycle::watch_health(ContainerPtr container) {
    const std::uint64_t round = container->round;
    const HealthPlan plan{*container->record->config.healthcheck};
    const HealthCheck check{container->record->config};
    const auto goes_on = [&] { return !closing && container->round == round && is_running(container->record->state.status); };
    const auto is_paused = [&] { return container->record->state.status == Status::paused; };
    while (goes_on()) {
        const State& state = container->record->state;
        const auto pause = plan.pause(state.health, ground.clock.wall() - state.started_at);
        auto due = ground.clock.steady() + pause;
        // Not for programs: many at once are in each other's way.
        if (check.probe) due = together(due, pause);
        while (goes_on() && !is_paused() && ground.clock.steady() < due) co_await wait_until(container->changed, ground.timers, due);
        if (goes_on() && is_paused()) {
            co_await container->changed.wait();
            continue;
        }
        if (!goes_on()) co_return;
        HealthResult result = co_await check_health(container, check, plan.timeout);
        if (!goes_on() || is_paused()) continue;
        const HealthStatus before = container->record->state.health.status;
        container->update([&](ContainerRecord& next) { take_result(next.state.health, std::move(result), plan, next.state.started_at); });
        publish(*container);
        if (container->record->state.health.status == before) continue;
        save(*container);
        const HealthStatus status = container->record->state.health.status;
        emit(*container->record, fmt::format("health_status: {}", to_string(status)));
        if (status == HealthStatus::healthy) container->health_pause = {};
        if (status == HealthStatus::unhealthy)
            spawn(act_on_failure(container), fmt::format("container {}: it is unhealthy", short_id(container->id())));
    }
}

/// A restart that does not help is repeated after a pause that doubles, until it has been healthy.
asio::awaitable<void> Lifecycle::act_on_failure(ContainerPtr container) {
    const std::string action = container->record->config.healthcheck->on_failure;
    if (action.empty() || action == "none") co_return;
    const std::uint64_t round = container->round;
    const auto is_due = [&] {
        const State& state = container->record->state;
        return !closing && container->round == round && state.status == Status::running && state.health.status == HealthStatus::unhealthy;
    };
    const auto pause = action == "restart" ? container->health_pause : std::chrono::seconds{0};
    const auto deadline = ground.clock.steady() + pause;
    while (is_due() && ground.clock.steady() < deadline) co_await wait_until(container->changed, ground.timers, deadline);
    if (!is_due()) co_return;
    log::info("container {}: it is unhealthy: {}", short_id(container->id()), action);
    if (action == "stop") co_return co_await stop(container->id(), {});
    if (action == "restart") {
        container->health_pause = std::clamp(2 * container->health_pause, shortest_pause, longest_pause);
        co_return co_await restart(container->id(), {});
    }
    // Nobody asked for it, so the restart policy has a say.
    if (const auto task = container->task) task->kill(SIGKILL);
    emit(*container->record, "kill", {{"signal", "9"}});
}

asio::awaitable<HealthResult> Lifecycle::check_health(ContainerPtr container, HealthCheck check, std::chrono::nanoseconds timeout) {
    HealthResult out{.start = ground.clock.wall(), .exit_code = -1};
    const std::uint64_t round = container->round;
    bool timed_out = false;
    try {
        if (check.probe) {
            const ProbeAnswer answer = co_await ask_probe(container, std::move(*check.probe), timeout);
            timed_out = answer.timed_out;
            if (!timed_out) out.exit_code = answer.is_well ? 0 : 1;
            out.output = to_valid_utf8(answer.said.substr(0, health_output_limit));
        } else {
            const tasks::Captured got = co_await run_check(container, std::move(check.command), timeout);
            timed_out = got.timed_out;
            if (!timed_out) out.exit_code = got.exit_code;
            out.output = to_valid_utf8(got.output) + (got.cut ? "..." : "");
        }
        if (timed_out) {
            const std::string said = out.output.empty() ? std::string{} : ": " + out.output;
            out.output = fmt::format("Health check exceeded timeout ({}){}", duration_text(timeout), said);
        }
    } catch (const std::exception& error) {
        out.output = error.what();
    }
    if (container->round == round) container->end_check = {};
    out.end = ground.clock.wall();
    co_return out;
}

asio::awaitable<tasks::Captured> Lifecycle::run_check(ContainerPtr container, StringList command, std::chrono::nanoseconds timeout) {
    ExecConfig config;
    config.cmd = std::move(command);
    const auto end = [](const std::weak_ptr<tasks::Exec>& weak) {
        try {
            if (const auto check = weak.lock()) check->kill(SIGKILL);
        } catch (const Error& error) {
            log::warn("a health check: {}", error.what());
        }
    };
    const auto started = [&](const tasks::ExecHandle& check) {
        container->end_check = [end, weak = std::weak_ptr(check)] { end(weak); };
        if (closing) container->end_check();
    };
    const tasks::CaptureLimits limits{
        .bytes = health_output_limit, .time = std::chrono::ceil<std::chrono::milliseconds>(timeout), .started = started};
    co_return co_await tasks::capture(running_task(*container), random_id(), further_process(*container->record, config), limits,
                                      ground.clock, ground.timers, loop);
}

asio::awaitable<ProbeAnswer> Lifecycle::ask_probe(ContainerPtr container, Probe probe, std::chrono::nanoseconds timeout) {
    std::stop_source stop;
    container->end_check = [stop]() mutable { stop.request_stop(); };
    co_return co_await ground.probes.ask({.container = container->id(),
                                          .probe = std::move(probe),
                                          .process = running_task(*container)->pidfd(),
                                          .timeout = timeout,
                                          .stop = stop.get_token()});
}

}  // namespace grua::engine
