// Whether a running container is well: its check is run again and again, as long as it runs.
//
// A check is a further program of the task that nobody sees: it is in no list of execs and no event but `health_status` tells of it.
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

}  // namespace

void Lifecycle::begin_health(const ContainerPtr& container) {
    if (health_command(container->record->config).empty()) return;
    spawn(watch_health(container), fmt::format("container {}: its health check", short_id(container->id())));
}

asio::awaitable<void> Lifecycle::watch_health(ContainerPtr container) {
    const std::uint64_t round = container->round;
    const HealthPlan plan{*container->record->config.healthcheck};
    const StringList command = health_command(container->record->config);
    const auto goes_on = [&] { return !closing && container->round == round && is_running(container->record->state.status); };
    const auto is_paused = [&] { return container->record->state.status == Status::paused; };
    while (goes_on()) {
        const State& state = container->record->state;
        const auto due = ground.clock.steady() + plan.pause(state.health, ground.clock.wall() - state.started_at);
        while (goes_on() && !is_paused() && ground.clock.steady() < due) co_await wait_until(container->changed, ground.timers, due);
        if (goes_on() && is_paused()) {
            co_await container->changed.wait();
            continue;
        }
        if (!goes_on()) co_return;
        HealthResult result = co_await check_health(container, command, plan.timeout);
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

asio::awaitable<HealthResult> Lifecycle::check_health(ContainerPtr container, StringList command, std::chrono::nanoseconds timeout) {
    HealthResult out{.start = ground.clock.wall(), .exit_code = -1};
    const auto task = container->task;
    try {
        if (!task) fail(ErrorKind::conflict, "container {} is not running", container->id());
        ExecConfig config;
        config.cmd = std::move(command);
        const tasks::CaptureLimits limits{.bytes = health_output_limit,
                                          .time = std::chrono::ceil<std::chrono::milliseconds>(timeout),
                                          .started = [&](const tasks::ExecHandle& check) {
                                              container->health_check = check;
                                              if (closing) check->kill(SIGKILL);
                                          }};
        tasks::Captured got = co_await tasks::capture(task, random_id(), further_process(*container->record, config), limits, ground.clock,
                                                      ground.timers, loop);
        out.exit_code = got.timed_out ? -1 : got.exit_code;
        out.output = to_valid_utf8(got.output) + (got.cut ? "..." : "");
        if (got.timed_out) {
            const std::string said = out.output.empty() ? std::string{} : ": " + out.output;
            out.output = fmt::format("Health check exceeded timeout ({}){}", duration_text(timeout), said);
        }
    } catch (const std::exception& error) {
        out.output = error.what();
    }
    out.end = ground.clock.wall();
    co_return out;
}

}  // namespace grua::engine
