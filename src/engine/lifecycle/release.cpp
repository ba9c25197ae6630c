// What containers own, and the one way it is let go of.
#include "base/id.hpp"
#include "base/log.hpp"
#include "engine/lifecycle/lifecycle.hpp"
#include "engine/lifecycle/run_parts.hpp"
#include "engine/lifecycle/start_mark.hpp"

namespace grua::engine {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::seconds first_retry = 5s;
constexpr std::chrono::seconds longest_retry = 300s;

}  // namespace

Owner Lifecycle::network_owner(const std::string& id) {
    return {.on_pool = [&ground = ground, id] { ground.sandboxes.release(id); }, .on_loop = {}};
}

Owner Lifecycle::cgroup_owner(const ContainerRecord& record) {
    return {.on_pool = [&ground = ground, path = cgroup_path(record)] { ground.tasks.end_cgroup(path); }, .on_loop = {}};
}

Owner Lifecycle::monitor_owner(const ContainerPtr& container) {
    return {.on_pool = {}, .on_loop = [weak = std::weak_ptr(container)]() -> asio::awaitable<void> {
                const auto target = weak.lock();
                if (target && target->task) std::exchange(target->task, nullptr)->close();
                co_return;
            }};
}

Owner Lifecycle::traces_owner(const ContainerRecord& record) {
    return {.on_pool = [live = live_directory(record.id),
                        keeps_record = record.host_config.auto_remove] { remove_start_traces(live, keeps_record); },
            .on_loop = {}};
}

Owner Lifecycle::mounts_owner(const std::string& holder) {
    return {.on_pool = {}, .on_loop = [&ground = ground, holder] { return ground.volumes.let_go_of_mounts(holder); }};
}

Owner Lifecycle::row_owner(const std::string& id) {
    return {.on_pool = {}, .on_loop = [this, id]() -> asio::awaitable<void> {
                saver.remove(id);
                co_await saver.flushed(id);
            }};
}

void Lifecycle::own_itself(Owned& owned, const ContainerRecord& record) {
    const std::string id = record.id;
    owned.add(Held::writable, {.on_pool = [&ground = ground, id] { ground.roots.remove(id); }, .on_loop = {}});
    owned.add(Held::folder, {.on_pool = [path = container_directory(id)] { remove_tree(path); }, .on_loop = {}});
    owned.add(Held::live, {.on_pool = [path = live_directory(id)] { remove_tree(path); }, .on_loop = {}});
    if (!record.host_config.auto_remove) owned.add(Held::row, row_owner(id));
}

asio::awaitable<bool> Lifecycle::release(ContainerPtr container, Held first, Held last) {
    const auto failures = co_await container->owned.release(pool, first, last);
    for (const ReleaseFailure& each : failures)
        log::error("container {}: its {} could not be let go of: {}", short_id(container->id()), to_string(each.what), each.error.what());
    if (!failures.empty() && failures.front().what <= last_of_run && container->retry == 0s && !closing) {
        container->retry = first_retry;
        spawn(try_again(container), "let go of what a container held");
    }
    co_return failures.empty();
}

asio::awaitable<void> Lifecycle::try_again(ContainerPtr container) {
    while (!closing && !container->is_gone()) {
        const auto deadline = ground.clock.steady() + container->retry;
        while (ground.clock.steady() < deadline && !closing && !container->is_gone())
            co_await wait_until(container->changed, ground.timers, deadline);
        const Lane::Turn turn = co_await container->lane.take();
        if (closing || container->is_gone()) break;
        // A start that is under way, or has come through, has let go of it itself.
        if (!container->owned.has_between(first_of_run, last_of_run) || container->phase != Phase::idle) break;
        try {
            // The end is in the store before its traces go.
            if (!container->record->host_config.auto_remove) co_await saver.flushed(container->id());
            if (co_await release(container, first_of_run, last_of_run)) break;
        } catch (const Error& error) {
            log::error("container {}: {}", short_id(container->id()), error.what());
        }
        container->retry = std::min(container->retry * 2, longest_retry);
    }
    container->retry = 0s;
}

}  // namespace grua::engine
