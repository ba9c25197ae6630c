// Ending, pausing and changing a container that runs.
#include "base/id.hpp"
#include "base/log.hpp"
#include "engine/engine_impl.hpp"
#include "engine/model/signals.hpp"

#include <sys/syscall.h>
#include <unistd.h>
#include <csignal>

namespace grua::engine {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t default_stop_timeout = 10;
constexpr auto kill_timeout = 10s;  // SIGKILL is not refused; a process in uninterruptible sleep may keep it waiting.

void require_running(const Container& container) {
    if (!is_running(container.record->state.status)) fail(ErrorKind::conflict, "container {} is not running", container.id());
}

}  // namespace

void Engine::Impl::send_signal(Container& container, int signal) {
    if (!container.pidfd) return;
    // Through the descriptor held since the start: the number may be another process's by now.
    if (::syscall(SYS_pidfd_send_signal, container.pidfd.get(), signal, nullptr, 0) != 0 && errno != ESRCH)
        fail_errno("send signal {} to container {}", signal, container.id());
}

asio::awaitable<bool> Engine::Impl::wait_for_exit(ContainerPtr container, Condition::Clock::time_point deadline) {
    while (is_running(container->record->state.status) || container->holds_network) {
        if (Condition::Clock::now() >= deadline) co_return false;
        co_await container->changed.wait(deadline);
    }
    co_return true;
}

asio::awaitable<void> Engine::Impl::stop(std::string reference, StopOptions stop_options) {
    const auto container = get_container(reference);
    const Lane::Turn turn = co_await container->lane.take();
    const Status status = container->record->state.status;
    if (!is_running(status) && status != Status::restarting) fail(ErrorKind::not_modified, "container {} is not running", container->id());
    container->update([](ContainerRecord& next) { next.stopped_by_user = true; });
    co_await stop_held(container, std::move(stop_options));
    emit(*container->record, "stop");
    save(*container);
}

asio::awaitable<void> Engine::Impl::stop_held(ContainerPtr container, StopOptions stop_options) {
    if (container->record->state.status == Status::restarting) {
        container->update([](ContainerRecord& next) { next.state.status = Status::exited; });
        publish(*container);
        co_return;
    }
    const ContainerConfig& config = container->record->config;
    const std::string name = !stop_options.signal.empty() ? stop_options.signal : config.stop_signal;
    const int signal = name.empty() ? SIGTERM : parse_signal(name);
    const std::int64_t seconds = stop_options.timeout.value_or(config.stop_timeout.value_or(default_stop_timeout));
    const bool paused = container->record->state.status == Status::paused;
    send_signal(*container, signal);
    emit(*container->record, "kill", {{"signal", std::to_string(signal)}});
    if (paused) {
        auto thaw = [this, path = cgroup_path(*container->record)] {
            linux::Cgroup::open(cgroups, linux::CgroupPath::parse(path)).thaw();
            return true;
        };
        co_await offload(pool, std::move(thaw));
    }
    const auto deadline = seconds < 0 ? Condition::Clock::time_point::max() : Condition::Clock::now() + std::chrono::seconds(seconds);
    if (co_await wait_for_exit(container, deadline)) co_return;
    log::info("container {} did not end within {} s of signal {}; killing it", short_id(container->id()), seconds, signal);
    send_signal(*container, SIGKILL);
    emit(*container->record, "kill", {{"signal", "9"}});
    if (co_await wait_for_exit(container, Condition::Clock::now() + kill_timeout)) co_return;
    fail(ErrorKind::system,
         "container {} PID {} is zombie and can not be killed. Use the --init option when creating containers to run an init inside",
         container->id(), container->record->state.pid);
}

asio::awaitable<void> Engine::Impl::restart(std::string reference, StopOptions stop_options) {
    const auto container = get_container(reference);
    const Lane::Turn turn = co_await container->lane.take();
    if (container->gone) fail(ErrorKind::not_found, "No such container: {}", reference);
    container->keep_after_exit = true;
    std::exception_ptr failure;
    try {
        const Status status = container->record->state.status;
        if (is_running(status) || status == Status::restarting) co_await stop_held(container, std::move(stop_options));
        container->update([](ContainerRecord& next) { next.stopped_by_user = false; });
        container->delay.reset();
        co_await start_held(container);
    } catch (const Error&) {
        failure = std::current_exception();
    }
    container->keep_after_exit = false;
    if (failure) std::rethrow_exception(failure);
    emit(*container->record, "restart");
}

asio::awaitable<void> Engine::Impl::kill(std::string reference, std::string signal_name) {
    const int signal = signal_name.empty() ? SIGKILL : parse_signal(signal_name);
    const auto container = get_container(reference);
    // No lane: a stop that waits must not keep a kill from coming through.
    require_running(*container);
    const bool ends =
        signal == SIGKILL ||
        signal == (container->record->config.stop_signal.empty() ? SIGTERM : parse_signal(container->record->config.stop_signal));
    if (ends) container->update([](ContainerRecord& next) { next.stopped_by_user = true; });
    send_signal(*container, signal);
    emit(*container->record, "kill", {{"signal", std::to_string(signal)}});
    if (signal == SIGKILL && container->record->state.status == Status::paused) {
        auto thaw = [this, path = cgroup_path(*container->record)] {
            linux::Cgroup::open(cgroups, linux::CgroupPath::parse(path)).thaw();
            return true;
        };
        co_await offload(pool, std::move(thaw));
    }
    // Docker answers once a killed container has ended.
    if (signal == SIGKILL) co_await wait_for_exit(container, Condition::Clock::now() + kill_timeout);
}

asio::awaitable<void> Engine::Impl::pause(std::string reference) {
    const auto container = get_container(reference);
    const Lane::Turn turn = co_await container->lane.take();
    require_running(*container);
    if (container->record->state.status == Status::paused) fail(ErrorKind::conflict, "Container {} is already paused", container->id());
    auto freeze = [this, path = cgroup_path(*container->record)] {
        linux::Cgroup::open(cgroups, linux::CgroupPath::parse(path)).freeze();
        return true;
    };
    co_await offload(pool, std::move(freeze));
    if (container->record->state.status != Status::running) fail(ErrorKind::conflict, "container {} is not running", container->id());
    container->update([](ContainerRecord& next) { next.state.status = Status::paused; });
    publish(*container);
    save(*container);
    emit(*container->record, "pause");
}

asio::awaitable<void> Engine::Impl::unpause(std::string reference) {
    const auto container = get_container(reference);
    const Lane::Turn turn = co_await container->lane.take();
    if (container->record->state.status != Status::paused) fail(ErrorKind::conflict, "Container {} is not paused", container->id());
    auto thaw = [this, path = cgroup_path(*container->record)] {
        linux::Cgroup::open(cgroups, linux::CgroupPath::parse(path)).thaw();
        return true;
    };
    co_await offload(pool, std::move(thaw));
    if (container->record->state.status == Status::paused) {
        container->update([](ContainerRecord& next) { next.state.status = Status::running; });
        publish(*container);
        save(*container);
    }
    emit(*container->record, "unpause");
}

asio::awaitable<void> Engine::Impl::update(std::string reference, UpdateConfig asked, StringList& warnings) {
    const auto container = get_container(reference);
    const Lane::Turn turn = co_await container->lane.take();
    if (container->gone) fail(ErrorKind::not_found, "No such container: {}", reference);
    if (!asked.publish_from.empty()) co_await take_ports(container, asked.publish_from);
    if (!asked.publish_add.empty() || !asked.publish_remove.empty())
        co_await change_ports(container, asked.publish_add, asked.publish_remove);
    HostConfig merged = container->record->host_config;
    const auto take = [](auto& value, const auto& change) {
        if (change != std::remove_cvref_t<decltype(change)>{}) value = change;
    };
    take(merged.cpu_shares, asked.cpu_shares);
    if (asked.nano_cpus != 0) {
        merged.nano_cpus = asked.nano_cpus;
        merged.cpu_period = 0;
        merged.cpu_quota = 0;
    }
    if ((asked.cpu_period != 0 || asked.cpu_quota != 0) && merged.nano_cpus != 0 && asked.nano_cpus == 0)
        fail(ErrorKind::invalid_argument, "Conflicting options: CPU {} cannot be updated as NanoCPUs has already been set",
             asked.cpu_period != 0 ? "Period" : "Quota");
    take(merged.cpu_period, asked.cpu_period);
    take(merged.cpu_quota, asked.cpu_quota);
    take(merged.cpuset_cpus, asked.cpuset_cpus);
    take(merged.cpuset_mems, asked.cpuset_mems);
    take(merged.blkio_weight, asked.blkio_weight);
    if (asked.memory > 0 && asked.memory_swap == 0 && merged.memory_swap > 0 && asked.memory > merged.memory_swap)
        fail(ErrorKind::invalid_argument,
             "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time");
    take(merged.memory, asked.memory);
    take(merged.memory_swap, asked.memory_swap);
    take(merged.memory_reservation, asked.memory_reservation);
    take(merged.net_rate_in, asked.net_rate_in);
    take(merged.net_rate_out, asked.net_rate_out);
    take(merged.net_burst, asked.net_burst);
    take(merged.network_allow, asked.network_allow);
    if (merged.network_allow == StringList{"default"}) merged.network_allow.clear();
    check_networking(container->record->config, merged);
    if (asked.pids_limit) merged.pids_limit = asked.pids_limit;
    if (!asked.restart_policy.name.empty()) {
        check(asked.restart_policy);
        if (merged.auto_remove && !is_none(asked.restart_policy))
            fail(ErrorKind::invalid_argument, "Restart policy cannot be updated because AutoRemove is enabled for the container");
        merged.restart_policy = asked.restart_policy;
    }
    warnings = check_resources(merged, host);
    if (is_running(container->record->state.status)) {
        auto apply = [this, path = cgroup_path(*container->record), limits = cgroup_resources(merged)] {
            linux::Cgroup::open(cgroups, linux::CgroupPath::parse(path)).apply(limits);
            return true;
        };
        const std::string doing = fmt::format("Cannot update container {}", container->id());
        const HostConfig& before = container->record->host_config;
        auto limit = [this, id = container->id(), limits = rate_limits(merged), policy = network_policy(merged),
                      is_limited = rate_limits(merged) != rate_limits(before), has_policy = merged.network_allow != before.network_allow] {
            if (is_limited) rooms.networks.set_limits(id, limits);
            if (has_policy) rooms.networks.set_policy(id, policy);
            return true;
        };
        try {
            co_await offload(pool, std::move(apply));
            co_await offload(pool, std::move(limit));
        } catch (Error& error) {
            error.add_context(doing);
            throw;
        }
    }
    container->update([&](ContainerRecord& next) { next.host_config = merged; });
    publish(*container);
    save(*container);
    emit(*container->record, "update");
    co_await saver.flushed();
}

}  // namespace grua::engine
