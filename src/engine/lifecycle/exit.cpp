// What follows when a program has ended. The list of steps is at the end of this file's first part.
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "engine/lifecycle/lifecycle.hpp"
#include "engine/lifecycle/steps.hpp"
#include "engine/lifecycle/waiter.hpp"
#include "engine/model/health.hpp"
#include "engine/networking/networking.hpp"

#include <array>

namespace grua::engine {
namespace {

constexpr int exit_unknown = 255;
/// A step that failed; what it was to let go of is held still.
constexpr std::chrono::seconds retry_after{5};

struct ExitWork : AtStep {
    ExitWork(std::shared_ptr<Lifecycle> engine, ContainerPtr whose) : keeps(std::move(engine)), life(*keeps), container(std::move(whose)) {}
    std::shared_ptr<Lifecycle> keeps;
    Lifecycle& life;
    ContainerPtr container;
    bool is_recorded = false;
};
using Work = std::shared_ptr<ExitWork>;

/// First, since whoever is told of the end may want its ports.
asio::awaitable<void> free_network(Work work) { co_await work->life.release(work->container, Held::network, Held::network); }

asio::awaitable<void> tell(Work work) {
    work->life.set_phase(*work->container, Phase::settling);
    work->life.resolve_waiters(*work->container, false);
    co_return;
}

asio::awaitable<void> end_cgroup(Work work) { co_await work->life.release(work->container, Held::cgroup, Held::cgroup); }

/// Before the traces of its run go: a gruad that dies here finds one or the other.
asio::awaitable<void> record_end(Work work) {
    Lifecycle& life = work->life;
    if (work->container->record->host_config.auto_remove) {
        auto write = [path = life.live_directory(work->container->id()) + "/record.json", record = work->container->record] {
            replace_file(path, to_json(*record), 0600);
        };
        co_await offload(life.pool, std::move(write));
    } else {
        co_await life.saver.flushed(work->container->id());
    }
    work->is_recorded = true;
}

asio::awaitable<void> end_monitor(Work work) { co_await work->life.release(work->container, Held::monitor, Held::monitor); }

asio::awaitable<void> forget_run(Work work) {
    if (work->is_recorded) co_await work->life.release(work->container, Held::traces, Held::traces);
    co_await work->life.release(work->container, Held::mounts, Held::layers);
}

/// Each is done though another fails.
constexpr std::array<Step<ExitWork>, 6> exit_steps{{
    {.name = "exit:network", .on_loop = free_network},
    {.name = "exit:told", .on_loop = tell},
    {.name = "exit:cgroup", .on_loop = end_cgroup},
    {.name = "exit:recorded", .on_loop = record_end},
    {.name = "exit:monitor", .on_loop = end_monitor},
    {.name = "exit:run", .on_loop = forget_run},
}};

}  // namespace

void Lifecycle::on_exited(const ContainerPtr& container, const tasks::ExitReport& report) {
    if (!is_running(container->record->state.status)) return;
    const bool resumes = container->is_restarting();
    const RecordPtr of_its_run = container->record;
    container->update([&](ContainerRecord& next) {
        next.state.status = Status::exited;
        next.state.pid = 0;
        next.state.exit_code = report.code;
        next.state.oom_killed = report.oom_killed;
        next.state.error = report.error;
        next.state.finished_at = report.finished_at;
        next.exec_ids.clear();
        stop_health(next.state.health);
        clear_networking(next);
    });
    forget_execs(*container);
    if (container->end_check) std::exchange(container->end_check, {})();
    if (report.oom_killed) emit(*container->record, "oom");
    const auto ran = std::chrono::duration_cast<std::chrono::seconds>(report.finished_at - container->record->state.started_at);
    emit(*container->record, "die", {{"exitCode", std::to_string(report.code)}, {"execDuration", std::to_string(ran.count())}});
    emit_joined(*of_its_run, false);

    const auto delay = resumes ? std::nullopt
                               : container->delay.next(container->record->host_config.restart_policy,
                                                       {.exit_code = report.code,
                                                        .stopped_by_user = container->record->stopped_by_user,
                                                        .ran_for = report.finished_at - container->record->state.started_at,
                                                        .restarts = container->record->restart_count});
    if (delay && !closing) container->update([](ContainerRecord& next) { next.state.status = Status::restarting; });
    container->phase = Phase::ending;
    publish(*container);
    save(*container);
    spawn(after_exit(container), fmt::format("container {}: after its exit", short_id(container->id())));
    if (delay && !closing) spawn(restart_later(container, *delay), fmt::format("container {}: restart", short_id(container->id())));
}

void Lifecycle::on_link_closed(const ContainerPtr& container) {
    container->changed.notify_all();
    if (!is_running(container->record->state.status)) return;
    spawn(look_after_monitor(container), fmt::format("container {}: after its monitor", short_id(container->id())));
}

/// A monitor that is there still is spoken to anew. Of one that was killed, what it could write down counts; else the status is
/// unknown, and said to be.
asio::awaitable<void> Lifecycle::look_after_monitor(ContainerPtr container) {
    const std::uint64_t round = container->round;
    struct Found {
        std::optional<tasks::FoundTask> task;
        std::optional<tasks::ExitReport> report;
    };
    auto look = [this, live = live_directory(container->id()), path = cgroup_path(*container->record)] {
        auto out = std::make_shared<Found>();
        out->task = ground.tasks.find(live, path);
        if (out->task) return out;
        out->report = tasks::read_exit_file(live);
        if (!out->report) ground.tasks.end_cgroup(path);
        return out;
    };
    std::shared_ptr<Found> found = std::make_shared<Found>();
    try {
        found = co_await offload(pool, std::move(look));
    } catch (const std::exception& error) {
        log::error("container {}: {}", short_id(container->id()), error.what());
    }
    if (container->round != round || !is_running(container->record->state.status)) co_return;
    if (found->task && !found->task->monitor.exited) {
        log::info("container {}: its monitor is spoken to anew", short_id(container->id()));
        container->task = ground.tasks.adopt(std::move(*found->task), task_events(container, nullptr));
        co_return;
    }
    if (found->task) found->report = found->task->monitor.exited;
    if (!found->report)
        found->report = tasks::ExitReport{
            .code = exit_unknown, .finished_at = ground.clock.wall(), .error = "exit status unknown: the container's monitor was killed"};
    on_exited(container, *found->report);
}

void Lifecycle::resolve_waiters(Container& container, bool removed) {
    const WaitResult result{.exit_code = container.record->state.exit_code, .error = container.record->state.error};
    std::erase_if(container.waiters, [&](const std::weak_ptr<WaiterState>& weak) {
        const auto waiter = weak.lock();
        if (!waiter) return true;
        if (waiter->condition == WaitCondition::removed && !removed) return false;
        waiter->resolve(result);
        return true;
    });
}

asio::awaitable<void> Lifecycle::after_exit(ContainerPtr container) {
    const auto work = std::make_shared<ExitWork>(shared_from_this(), container);
    bool is_whole = true;
    for (const Step<ExitWork>& step : exit_steps) {
        try {
            pass(*work, step.name);
            co_await step.on_loop(work);
        } catch (const std::exception& error) {
            is_whole = false;
            log::error("container {}: {}: {}", short_id(container->id()), step.name, error.what());
        }
    }
    if (!is_whole && container->retry == std::chrono::seconds{0} && !closing) {
        container->retry = retry_after;
        spawn(try_again(container), fmt::format("container {}: after its exit", short_id(container->id())));
    }
    if (container->phase == Phase::ending) resolve_waiters(*container, false);
    set_phase(*container, Phase::idle);
    if (!container->record->host_config.auto_remove || closing) co_return;
    // A restart that is under way has the lane.
    const Lane::Turn turn = co_await container->lane.take();
    if (container->is_gone() || is_running(container->record->state.status) || closing) co_return;
    co_await remove_held(container, true);
}

asio::awaitable<void> Lifecycle::restart_later(ContainerPtr container, std::chrono::milliseconds delay) {
    const std::uint64_t round = container->round;
    const auto is_due = [&] { return container->round == round && container->record->state.status == Status::restarting && !closing; };
    const auto deadline = ground.clock.steady() + delay;
    while (ground.clock.steady() < deadline && is_due()) co_await wait_until(container->changed, ground.timers, deadline);
    const Lane::Turn turn = co_await container->lane.take();
    if (!container->is_gone() && is_due()) co_await start_held(container, StartReason::policy);
}

}  // namespace grua::engine
