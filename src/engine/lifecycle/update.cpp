// Limits, ports and the restart policy of a container that is there already.
#include "base/id.hpp"
#include "base/log.hpp"
#include "engine/engine_impl.hpp"
#include "engine/model/request_texts.hpp"

namespace grua::engine {
namespace {

/// What makes `tried` into `before` again: a limit that was not there has to be lifted, since none means "leave it".
HostConfig undone(HostConfig before, const HostConfig& tried) {
    const auto lift = [](std::int64_t& value, std::int64_t given, std::int64_t none) {
        if (value == 0 && given != 0) value = none;
    };
    lift(before.memory, tried.memory, -1);
    lift(before.memory_swap, tried.memory_swap != 0 ? tried.memory_swap : tried.memory, -1);
    lift(before.memory_reservation, tried.memory_reservation, -1);
    lift(before.cpu_shares, tried.cpu_shares, 1024);
    if (before.nano_cpus == 0) lift(before.cpu_quota, tried.nano_cpus != 0 ? tried.nano_cpus : tried.cpu_quota, -1);
    if (!before.pids_limit && tried.pids_limit) before.pids_limit = -1;
    return before;
}

}  // namespace

asio::awaitable<void> Engine::Impl::update(std::string reference, UpdateConfig asked, StringList& warnings) {
    const auto container = get_container(reference);
    check_texts(asked);
    const Lane::Turn turn = co_await container->lane.take();
    if (container->is_gone()) fail(ErrorKind::not_found, "No such container: {}", reference);
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
            fail(ErrorKind::conflict, "Restart policy cannot be updated because AutoRemove is enabled for the container");
        merged.restart_policy = asked.restart_policy;
    }
    warnings = check_resources(merged, host);
    const RecordPtr before = container->record;
    const auto apply = [this](ContainerPtr target, HostConfig from, HostConfig to) -> asio::awaitable<void> {
        if (!is_running(target->record->state.status)) co_return;
        auto limit = [this, id = target->id(), limits = rate_limits(to), policy = network_policy(to),
                      is_limited = rate_limits(to) != rate_limits(from), has_policy = to.network_allow != from.network_allow] {
            if (is_limited) rooms.networks.set_limits(id, limits);
            if (has_policy) rooms.networks.set_policy(id, policy);
            return true;
        };
        if (const auto task = target->task) co_await task->update(cgroup_resources(to));
        co_await offload(pool, std::move(limit));
    };
    const auto note = [&](const HostConfig& limits) {
        container->update([&](ContainerRecord& next) { next.host_config = limits; });
        publish(*container);
        save(*container);
    };
    std::exception_ptr failure;
    try {
        co_await apply(container, before->host_config, merged);
        note(merged);
        co_await save_to_end(container);
    } catch (...) {
        failure = std::current_exception();
    }
    if (failure) {
        // Who is told that it failed finds it as it was.
        if (container->record->host_config != before->host_config) note(before->host_config);
        try {
            co_await apply(container, merged, undone(before->host_config, merged));
        } catch (const Error& error) {
            log::warn("container {}: its limits could not be put back: {}", short_id(container->id()), error.what());
        }
        while_doing(fmt::format("Cannot update container {}", container->id()), [&] { std::rethrow_exception(failure); });
    }
    emit(*container->record, "update");
}

}  // namespace grua::engine
