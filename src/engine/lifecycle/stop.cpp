// Ending, pausing and changing a container that runs.
#include "base/id.hpp"
#include "base/log.hpp"
#include "engine/lifecycle/lifecycle.hpp"
#include "engine/model/health.hpp"
#include "engine/model/signals.hpp"
#include "linux/process.hpp"

#include <poll.h>
#include <csignal>

namespace grua::engine {
namespace {

using namespace std::chrono_literals;

constexpr auto removal_patience = 5s;
constexpr std::chrono::milliseconds first_look = 20ms;
constexpr std::chrono::milliseconds longest_look = 250ms;
constexpr auto kill_timeout = 10s;  // SIGKILL is not refused; a process in uninterruptible sleep may keep it waiting.

void require_running(const Container& container) {
    if (!is_running(container.record->state.status)) fail(ErrorKind::conflict, "container {} is not running", container.id());
}

void signal_to(Container& container, int signal) {
    const auto task = container.task;
    if (task) while_doing(fmt::format("container {}", container.id()), [&] { task->kill(signal); });
}

/// One that has been killed may have ended meanwhile.
asio::awaitable<void> resume(Lifecycle& life, ContainerPtr container) {
    const std::uint64_t round = container->round;
    if (const auto task = container->task) co_await task->resume();
    if (container->round != round || container->record->state.status != Status::paused) co_return;
    container->update([](ContainerRecord& next) { next.state.status = Status::running; });
    life.publish(*container);
    life.save(*container);
    life.emit(*container->record, "unpause");
}

/// What was answered holds: the next gruad's restart policy is to know of it, though this one is killed at once. That it ended is true
/// also where the store is full.
asio::awaitable<void> keep_stop(Lifecycle& life, ContainerPtr container) {
    life.save(*container);
    try {
        co_await life.saver.flushed(container->id());
    } catch (const Error& error) {
        log::warn("container {}: that it was stopped is not written down: {}", short_id(container->id()), error.what());
    }
}

/// So that it hears the signal that is to end it. What is killed does not go on, whichever of the two comes first.
asio::awaitable<void> resume_to_end(Lifecycle& life, ContainerPtr container, int signal) {
    if (signal != SIGKILL) co_return co_await resume(life, container);
    if (const auto task = container->task) co_await task->resume();
}

}  // namespace

asio::awaitable<bool> Lifecycle::wait_for_exit(ContainerPtr container, Clock::Point deadline) {
    while (is_running(container->record->state.status) || container->phase == Phase::ending) {
        if (ground.clock.steady() >= deadline) co_return false;
        co_await wait_until(container->changed, ground.timers, deadline);
    }
    co_return true;
}

/// Its program is gone and its monitor does not say so, as where that is stopped: what is known of the end counts.
asio::awaitable<bool> Lifecycle::end_without_monitor(ContainerPtr container) {
    const auto task = container->task;
    if (!task || !is_running(container->record->state.status)) co_return false;
    const auto pidfd = std::make_shared<Fd>(task->pidfd());
    if (*pidfd) {
        pollfd ended{.fd = pidfd->get(), .events = POLLIN, .revents = 0};
        if (::poll(&ended, 1, 0) != 1) co_return false;
    }
    log::error("container {}: its program has ended and its monitor does not say so", short_id(container->id()));
    task->close();
    on_exited(container, {.code = 128 + SIGKILL,
                          .finished_at = ground.clock.wall(),
                          .error = "exit status unknown: the container's monitor does not answer"});
    co_return co_await wait_for_exit(container, ground.clock.steady() + kill_timeout);
}

/// Whether its program has a handler for it, or waits for it, or will when it looks. To the first process of a PID namespace the kernel
/// gives no other signal, and what it does not give is lost.
asio::awaitable<bool> Lifecycle::hears(ContainerPtr container, int signal) {
    const auto task = container->task;
    const auto pidfd = std::make_shared<Fd>(task ? task->pidfd() : Fd());
    if (!*pidfd || signal == SIGKILL || signal == SIGSTOP) co_return true;
    try {
        const auto sets = co_await offload(pool, [pidfd] { return linux::signal_sets(pidfd->get()); });
        const std::uint64_t bit = std::uint64_t{1} << static_cast<unsigned>(signal - 1);
        co_return !sets || ((sets->caught | sets->blocked | sets->pending) & bit) != 0;
    } catch (const Error& error) {
        log::warn("container {}: whether it hears signal {}: {}", short_id(container->id()), signal, error.what());
        co_return true;
    }
}

/// A program that is so young that it has no handler yet gets the signal again when it has one. Also from exec to exec: a shell that
/// becomes the program has none to begin with.
asio::awaitable<void> Lifecycle::signal_once_heard(ContainerPtr container, int signal, Clock::Point deadline) {
    auto pause = first_look;
    while (is_running(container->record->state.status) && ground.clock.steady() < deadline) {
        const auto next = std::min(deadline, ground.clock.steady() + pause);
        if (co_await wait_for_exit(container, next)) co_return;
        pause = std::min(pause * 2, longest_look);
        if (!co_await hears(container, signal)) continue;
        if (is_running(container->record->state.status)) signal_to(*container, signal);
        co_return;
    }
}

asio::awaitable<void> Lifecycle::stop(std::string reference, StopOptions stop_options) {
    const auto container = get_container(reference);
    {
        const Lane::Turn turn = co_await container->lane.take();
        const Status status = container->record->state.status;
        if (!is_running(status) && status != Status::restarting)
            fail(ErrorKind::not_modified, "container {} is not running", container->id());
        container->update([](ContainerRecord& next) { next.stopped_by_user = true; });
        co_await stop_held(container, std::move(stop_options));
        emit(*container->record, "stop");
        co_await keep_stop(*this, container);
    }
    co_await wait_for_removal(container);
}

/// Whoever ends one that goes with its exit may want its name next. What keeps it is no error of theirs.
asio::awaitable<void> Lifecycle::wait_for_removal(ContainerPtr container) {
    if (!container->record->host_config.auto_remove) co_return;
    const auto deadline = ground.clock.steady() + removal_patience;
    while (!container->is_gone() && !closing && ground.clock.steady() < deadline)
        co_await wait_until(container->changed, ground.timers, deadline);
}

asio::awaitable<void> Lifecycle::stop_held(ContainerPtr container, StopOptions stop_options) {
    if (container->record->state.status == Status::restarting) {
        container->update([](ContainerRecord& next) { next.state.status = Status::exited; });
        publish(*container);
        co_return;
    }
    const ContainerConfig& config = container->record->config;
    const std::string name = !stop_options.signal.empty() ? stop_options.signal : config.stop_signal;
    const int signal = name.empty() ? SIGTERM : parse_signal(name);
    const std::int64_t seconds = stop_options.timeout.value_or(config.stop_timeout.value_or(options.default_stop_timeout));
    const bool paused = container->record->state.status == Status::paused;
    const bool unheard = !co_await hears(container, signal);
    signal_to(*container, signal);
    emit(*container->record, "kill", {{"signal", std::to_string(signal)}});
    if (paused) co_await resume_to_end(*this, container, signal);
    const auto deadline = seconds < 0 ? Clock::never : ground.clock.steady() + std::chrono::seconds(seconds);
    if (unheard) co_await signal_once_heard(container, signal, deadline);
    if (co_await wait_for_exit(container, deadline)) co_return;
    log::info("container {} did not end within {} s of signal {}; killing it", short_id(container->id()), seconds, signal);
    signal_to(*container, SIGKILL);
    emit(*container->record, "kill", {{"signal", "9"}});
    if (co_await wait_for_exit(container, ground.clock.steady() + kill_timeout)) co_return;
    if (co_await end_without_monitor(container)) co_return;
    fail(ErrorKind::system,
         "container {} PID {} is zombie and can not be killed. Use the --init option when creating containers to run an init inside",
         container->id(), container->record->state.pid);
}

asio::awaitable<void> Lifecycle::restart(std::string reference, StopOptions stop_options) {
    const auto container = get_container(reference);
    const Lane::Turn turn = co_await container->lane.take();
    if (container->is_gone()) fail(ErrorKind::not_found, "No such container: {}", reference);
    // While this lives its end is not one for --rm or the restart policy, however this function is left.
    const auto restarting = std::make_shared<const bool>(true);
    container->restarts = restarting;
    const Status status = container->record->state.status;
    if (is_running(status) || status == Status::restarting) {
        co_await stop_held(container, std::move(stop_options));
        emit(*container->record, "stop");
    }
    container->delay.reset();
    co_await start_held(container, StartReason::restart);
    emit(*container->record, "restart");
}

asio::awaitable<void> Lifecycle::stop_all(std::chrono::seconds patience) {
    std::vector<ContainerPtr> all;
    for (const auto& [id, container] : containers) {
        if (!is_running(container->record->state.status)) continue;
        all.push_back(container);
        spawn(stop_for_the_end(container), fmt::format("container {}: stopped with gruad", short_id(id)));
    }
    const auto deadline = ground.clock.steady() + patience;
    std::vector<ContainerPtr> late;
    for (const ContainerPtr& each : all) {
        if (co_await wait_for_exit(each, deadline)) continue;
        log::warn("container {} has not ended within {} s and is killed", short_id(each->id()), patience.count());
        co_await kill_for_the_end(each);
        late.push_back(each);
    }
    const auto after_kill = ground.clock.steady() + kill_timeout;
    for (const ContainerPtr& each : late) {
        if (!co_await wait_for_exit(each, after_kill))
            log::error("container {} was killed and has not ended; it is left", short_id(each->id()));
    }
}

/// Its stop signal is still being waited for, so its lane is not free.
asio::awaitable<void> Lifecycle::kill_for_the_end(ContainerPtr container) {
    try {
        if (is_running(container->record->state.status)) signal_to(*container, SIGKILL);
        if (const auto task = container->task; task && container->record->state.status == Status::paused) co_await task->resume();
    } catch (const Error& error) {
        log::warn("container {}: {}", short_id(container->id()), error.what());
    }
}

/// Nobody has asked for it, so the restart policy has a say again when the next gruad starts.
asio::awaitable<void> Lifecycle::stop_for_the_end(ContainerPtr container) {
    const Lane::Turn turn = co_await container->lane.take();
    if (!is_running(container->record->state.status)) co_return;
    const auto no_say_now = std::make_shared<const bool>(true);
    container->restarts = no_say_now;
    co_await stop_held(container, {});
}

asio::awaitable<void> Lifecycle::kill(std::string reference, std::string signal_name) {
    const int signal = signal_name.empty() ? SIGKILL : parse_signal(signal_name);
    const auto container = get_container(reference);
    // No lane: a stop that waits must not keep a kill from coming through.
    require_running(*container);
    const bool ends =
        signal == SIGKILL ||
        signal == (container->record->config.stop_signal.empty() ? SIGTERM : parse_signal(container->record->config.stop_signal));
    if (ends) container->update([](ContainerRecord& next) { next.stopped_by_user = true; });
    signal_to(*container, signal);
    emit(*container->record, "kill", {{"signal", std::to_string(signal)}});
    // What is to end it is heard once it goes on; another signal waits for that.
    if (ends && container->record->state.status == Status::paused) co_await resume_to_end(*this, container, signal);
    // Docker answers once a killed container has ended.
    const bool has_ended = signal == SIGKILL && co_await wait_for_exit(container, ground.clock.steady() + kill_timeout);
    if (ends && !container->is_gone()) co_await keep_stop(*this, container);
    if (has_ended) co_await wait_for_removal(container);
}

asio::awaitable<void> Lifecycle::pause(std::string reference) {
    const auto container = get_container(reference);
    const Lane::Turn turn = co_await container->lane.take();
    require_running(*container);
    if (container->record->state.status == Status::paused) fail(ErrorKind::conflict, "Container {} is already paused", container->id());
    const auto task = container->task;
    if (!task) fail(ErrorKind::conflict, "container {} is not running", container->id());
    const std::uint64_t round = container->round;
    try {
        co_await task->pause();
    } catch (const Error&) {
        // Where it has ended meanwhile its cgroup goes, piece by piece.
        if (container->round == round && container->record->state.status == Status::running) throw;
        fail(ErrorKind::conflict, "container {} is not running", container->id());
    }
    if (container->record->state.status != Status::running) fail(ErrorKind::conflict, "container {} is not running", container->id());
    container->update([](ContainerRecord& next) {
        next.state.status = Status::paused;
        stop_health(next.state.health);
    });
    publish(*container);
    save(*container);
    emit(*container->record, "pause");
}

asio::awaitable<void> Lifecycle::unpause(std::string reference) {
    const auto container = get_container(reference);
    const Lane::Turn turn = co_await container->lane.take();
    if (container->record->state.status != Status::paused) fail(ErrorKind::conflict, "Container {} is not paused", container->id());
    co_await resume(*this, container);
}

}  // namespace grua::engine
