// What follows when a monitor speaks: the program runs, or has ended; and what comes after an end.
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "engine/engine_impl.hpp"
#include "engine/networking/networking.hpp"
#include "layers/layers.hpp"

#include <csignal>
#include <filesystem>

namespace grua::engine {
namespace {

constexpr int exit_unknown = 255;

}  // namespace

void Engine::Impl::on_started(const ContainerPtr& container, pid_t pid, Time started_at, Fd pidfd) {
    container->pidfd = std::move(pidfd);
    container->update([&](ContainerRecord& next) {
        next.state = State{};
        next.state.status = Status::running;
        next.state.pid = pid;
        next.state.started_at = started_at;
    });
    publish(*container);
    save(*container);
    emit(*container->record, "start");
}

void Engine::Impl::on_exited(const ContainerPtr& container, const tasks::ExitReport& report) {
    if (!is_running(container->record->state.status)) return;
    const bool resumes = container->keep_after_exit;
    container->update([&](ContainerRecord& next) {
        next.state.status = Status::exited;
        next.state.pid = 0;
        next.state.exit_code = report.code;
        next.state.oom_killed = report.oom_killed;
        next.state.error = report.error;
        next.state.finished_at = report.finished_at;
        clear_networking(next);
    });
    container->pidfd = Fd();
    forget_execs(*container);
    if (report.oom_killed) emit(*container->record, "oom");
    const auto ran = std::chrono::duration_cast<std::chrono::seconds>(report.finished_at - container->record->state.started_at);
    emit(*container->record, "die", {{"exitCode", std::to_string(report.code)}, {"execDuration", std::to_string(ran.count())}});

    const auto delay = resumes ? std::nullopt
                               : container->delay.next(container->record->host_config.restart_policy,
                                                       {.exit_code = report.code,
                                                        .stopped_by_user = container->record->stopped_by_user,
                                                        .ran_for = report.finished_at - container->record->state.started_at,
                                                        .restarts = container->record->restart_count});
    if (delay && !closing) container->update([](ContainerRecord& next) { next.state.status = Status::restarting; });
    container->cleaning = true;
    container->holds_network = true;
    publish(*container);
    save(*container);
    spawn(after_exit(container), fmt::format("container {}: after its exit", short_id(container->id())));
    if (delay && !closing) spawn(restart_later(container, *delay), fmt::format("container {}: restart", short_id(container->id())));
}

void Engine::Impl::on_link_closed(const ContainerPtr& container) {
    container->link.reset();
    if (!is_running(container->record->state.status)) {
        container->changed.notify_all();
        return;
    }
    // The monitor was killed. What it could write down counts; else the status is unknown, and said to be.
    auto look = [this, id = container->id(), live = live_directory(container->id()), path = cgroup_path(*container->record)] {
        auto report = tasks::read_exit_file(live);
        if (!report) {
            try {
                linux::Cgroup::open(cgroups, linux::CgroupPath::parse(path)).kill(SIGKILL);
            } catch (const Error& error) {
                if (error.kind() != ErrorKind::not_found) log::warn("container {}: {}", id, error.what());
            }
        }
        return report;
    };
    auto task = [](std::shared_ptr<Impl> self, ContainerPtr target, decltype(look) work) -> asio::awaitable<void> {
        auto report = co_await offload(self->pool, std::move(work));
        if (!report)
            report = tasks::ExitReport{
                .code = exit_unknown, .finished_at = now(), .error = "exit status unknown: the container's monitor was killed"};
        self->on_exited(target, *report);
    };
    spawn(task(shared_from_this(), container, std::move(look)), "after a monitor's end");
}

void Engine::Impl::resolve_waiters(Container& container, bool removed) {
    const WaitResult result{.exit_code = container.record->state.exit_code, .error = container.record->state.error};
    std::erase_if(container.waiters, [&](const std::weak_ptr<WaiterState>& weak) {
        const auto waiter = weak.lock();
        if (!waiter) return true;
        if (waiter->condition == WaitCondition::removed && !removed) return false;
        waiter->resolve(result);
        return true;
    });
}

asio::awaitable<void> Engine::Impl::after_exit(ContainerPtr container) {
    const bool keeps_record = container->record->host_config.auto_remove;
    auto clean = [this, id = container->id(), path = cgroup_path(*container->record), live = live_directory(container->id()), keeps_record,
                  document = keeps_record ? to_json(*container->record) : std::string()] {
        try {
            linux::Cgroup::open(cgroups, linux::CgroupPath::parse(path)).remove();
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::not_found) log::warn("container {}: {}", id, error.what());
        }
        if (keeps_record) replace_file(live + "/record.json", document, 0600);
        return true;
    };
    auto release = [this, id = container->id()] {
        rooms.networks.release(id);
        return true;
    };
    try {
        co_await offload(pool, std::move(release));
    } catch (const Error& error) {
        log::error("container {}: {}", short_id(container->id()), error.what());
    }
    container->holds_network = false;
    container->changed.notify_all();
    resolve_waiters(*container, false);
    try {
        co_await offload(pool, std::move(clean));
        // The end is in the store before its traces in the exec root go: a gruad that dies here finds one or the other.
        if (!keeps_record) co_await saver.flushed();
        // The monitor ends when its connection does.
        if (container->link) container->link->close();
        container->link.reset();
        auto forget = [live = live_directory(container->id()), keeps_record] {
            std::error_code ignored;
            if (!keeps_record) std::filesystem::remove(live + "/record.json", ignored);
            for (const char* file : {"/exit.json", "/monitor.sock"}) std::filesystem::remove(live + file, ignored);
            return true;
        };
        co_await offload(pool, std::move(forget));
    } catch (const Error& error) {
        log::error("container {}: {}", short_id(container->id()), error.what());
    }
    if (container->link) container->link->close();
    container->link.reset();
    container->layers.reset();
    container->cleaning = false;
    container->changed.notify_all();
    if (!container->record->host_config.auto_remove || container->keep_after_exit || closing) co_return;
    const Lane::Turn turn = co_await container->lane.take();
    if (container->gone || is_running(container->record->state.status)) co_return;
    co_await remove_held(container, true);
}

asio::awaitable<void> Engine::Impl::restart_later(ContainerPtr container, std::chrono::milliseconds delay) {
    const auto deadline = Condition::Clock::now() + delay;
    while (Condition::Clock::now() < deadline && container->record->state.status == Status::restarting && !closing)
        co_await container->changed.wait(deadline);
    const Lane::Turn turn = co_await container->lane.take();
    if (container->gone || closing || container->record->state.status != Status::restarting) co_return;
    container->update([](ContainerRecord& next) { ++next.restart_count; });
    co_await start_held(container);
}

}  // namespace grua::engine
