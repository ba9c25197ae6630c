// The removal of a container. The list of steps is at the end of this file's first part.
#include "base/log.hpp"
#include "engine/lifecycle/lifecycle.hpp"
#include "engine/lifecycle/start_work.hpp"
#include "engine/lifecycle/steps.hpp"

#include <array>
#include <csignal>

namespace grua::engine {
namespace {

struct RemoveWork : AtStep {
    RemoveWork(std::shared_ptr<Lifecycle> engine, ContainerPtr whose, bool takes)
        : keeps(std::move(engine)), life(*keeps), container(std::move(whose)), takes_volumes(takes) {}
    std::shared_ptr<Lifecycle> keeps;
    Lifecycle& life;
    ContainerPtr container;
    bool takes_volumes;
    StringList volumes;  ///< That go with it.
};
using Work = std::shared_ptr<RemoveWork>;

asio::awaitable<void> settle(Work work) {
    const ContainerPtr container = work->container;
    while (container->is_settling()) co_await container->changed.wait();
}

asio::awaitable<void> mark(Work work) {
    Lifecycle& life = work->life;
    Container& container = *work->container;
    container.update([](ContainerRecord& next) { next.state.status = Status::removing; });
    life.publish(container);
    container.attaches.clear();
    const ContainerRecord& record = *container.record;
    if (!work->takes_volumes || record.anonymous_volumes.empty()) co_return;
    for (const auto& name : record.anonymous_volumes)
        if (life.volume_users(name) == StringList{record.id}) work->volumes.push_back(name);
    if (record.host_config.auto_remove || container.phase == Phase::foreign) co_return;
    // "removing" in the store says: to be removed with its volumes. Recovery goes on with it.
    life.save(container);
    co_await life.saver.flushed(record.id);
}

asio::awaitable<void> let_go(Work work) {
    const ContainerPtr container = work->container;
    Owned& owned = container->owned;
    // Of a start that came to nothing, or of an earlier gruad's.
    if (!owned.has(Held::network)) owned.add(Held::network, work->life.network_owner(container->id()));
    if (!work->volumes.empty())
        owned.add(Held::volumes, {.on_pool =
                                      [&folders = work->life.ground.volumes, names = work->volumes] {
                                          for (const std::string& name : names) folders.remove(name);
                                      },
                                  .on_loop = {}});
    // A removal that failed has stored the container anew, with what it failed at.
    if (!container->record->host_config.auto_remove) owned.add(Held::row, work->life.row_owner(container->id()));
    // The layer first, the row last, and only where all before it is gone: recovery goes on with what lies between.
    for (const auto& [first, last] : {std::pair(first_of_run, Held::folder), std::pair(Held::row, Held::live)}) {
        const auto failures = co_await owned.release(work->life.pool, first, last);
        for (const ReleaseFailure& each : failures)
            log::error("container {}: its {} cannot be removed: {}", container->id(), to_string(each.what), each.error.what());
        if (!failures.empty()) throw Error(failures.front().error);
    }
}

asio::awaitable<void> forget(Work work) {
    Lifecycle& life = work->life;
    Container& container = *work->container;
    const RecordPtr record = container.record;
    container.phase = Phase::gone;
    life.ground.images.was_used(record->image_id, record->state.finished_at);
    life.containers.erase(record->id);
    for (const auto& [alias, target] : record->links) life.forget_link(target, record->id);
    if (const auto name = life.names.find(record->name); name != life.names.end() && name->second == record->id) life.names.erase(name);
    std::erase_if(life.execs, [&](const auto& each) { return each.second->container_id == record->id; });
    life.publish(container);
    for (const auto& name : work->volumes)
        life.events.publish({.type = "volume", .action = "destroy", .id = name, .attributes = {{"driver", "local"}}});
    life.emit(*record, "destroy");
    life.resolve_waiters(container, true);
    co_return;
}

/// Layers that stood for this container only.
asio::awaitable<void> free_image(Work work) {
    Lifecycle& life = work->life;
    if (life.ground.images.has(work->container->record->image_id)) co_return;
    try {
        co_await offload(life.pool, [&images = life.ground.images] { images.collect(); });
    } catch (const std::exception& error) {
        log::warn("layers of a removed container: {}", error.what());
    }
}

constexpr std::array<Step<RemoveWork>, 5> remove_steps{{
    {.name = "remove:settled", .on_loop = settle},
    {.name = "remove:marked", .on_loop = mark},
    {.name = "remove:released", .on_loop = let_go},
    {.name = "remove:forgotten", .on_loop = forget},
    {.name = "remove:image", .on_loop = free_image},
}};

}  // namespace

asio::awaitable<void> Lifecycle::remove(std::string reference, RemoveOptions remove_options) {
    const auto container = get_container(reference);
    // A container that runs is killed before its lane is taken, so that a stop that waits for it ends at once.
    const auto refuse_running = [&] {
        const Status status = container->record->state.status;
        if (remove_options.force || (!is_running(status) && status != Status::restarting)) return;
        fail(ErrorKind::conflict, "cannot remove container \"{}\": container is {}", container->record->name,
             status == Status::paused ? "paused and must be unpaused first"
                                      : fmt::format("{}: stop the container before removing or force remove", to_string(status)));
    };
    if (container->record->state.status == Status::removing)
        fail(ErrorKind::conflict, "removal of container {} is already in progress", reference);
    if (container->phase == Phase::foreign && !remove_options.force)
        fail(ErrorKind::conflict, "cannot remove container \"{}\": {}: force remove", container->record->name,
             container->record->state.error);
    refuse_running();
    if (remove_options.force) {
        if (const auto starting = container->starting.lock(); starting && container->phase == Phase::starting) {
            starting->called_off = true;
            ground.volumes.call_off_mounts(container->id());
            if (container->task) container->task->call_off("the container is being removed");
        }
    }
    if (is_running(container->record->state.status)) {
        container->update([](ContainerRecord& next) { next.stopped_by_user = true; });
        co_await kill(container->id(), "SIGKILL");
    }
    const Lane::Turn turn = co_await container->lane.take();
    // --rm, or another client, may have been faster.
    if (container->is_gone()) co_return;
    refuse_running();
    if (container->record->state.status == Status::restarting || is_running(container->record->state.status)) {
        container->update([](ContainerRecord& next) { next.stopped_by_user = true; });
        co_await stop_held(container, {.timeout = 0, .signal = "SIGKILL"});
    }
    co_await remove_held(container, remove_options.volumes);
}

asio::awaitable<void> Lifecycle::remove_held(ContainerPtr container, bool with_volumes) {
    const auto work = std::make_shared<RemoveWork>(shared_from_this(), container, with_volumes);
    std::exception_ptr thrown;
    std::string why;
    try {
        co_await run_steps<RemoveWork>(pool, remove_steps, work);
    } catch (const std::exception& error) {
        thrown = std::current_exception();
        why = error.what();
    }
    if (!thrown) co_return;
    if (container->is_gone()) std::rethrow_exception(thrown);
    // As where the disk is full: who made room asks again.
    container->found([&](ContainerRecord& next) {
        next.state.status = Status::dead;
        next.state.error = fmt::format("its removal failed at {}: {}", work->at, why);
    });
    publish(*container);
    if (container->phase != Phase::foreign) save(*container);
    // Whoever waits for its removal waits for what has just failed.
    resolve_waiters(*container, true);
    std::rethrow_exception(thrown);
}

}  // namespace grua::engine
