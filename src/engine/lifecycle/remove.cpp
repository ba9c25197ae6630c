#include "base/files.hpp"
#include "base/log.hpp"
#include "engine/engine_impl.hpp"
#include "images/image_store.hpp"
#include "layers/layers.hpp"
#include "volumes/volumes.hpp"

#include <csignal>
#include <filesystem>

namespace grua::engine {

asio::awaitable<void> Engine::Impl::remove(std::string reference, RemoveOptions remove_options) {
    const auto container = get_container(reference);
    // A container that runs is killed before its lane is taken, so that a stop that waits for it ends at once.
    const auto refuse_running = [&] {
        const Status status = container->record->state.status;
        if (remove_options.force || (!is_running(status) && status != Status::restarting)) return;
        fail(ErrorKind::conflict, "cannot remove container \"{}\": container is {}: stop the container before removing or force remove",
             container->record->name, to_string(status));
    };
    if (container->record->state.status == Status::removing && !container->removal_failed)
        fail(ErrorKind::conflict, "removal of container {} is already in progress", reference);
    refuse_running();
    if (is_running(container->record->state.status)) {
        container->update([](ContainerRecord& next) { next.stopped_by_user = true; });
        co_await kill(container->id(), "SIGKILL");
    }
    const Lane::Turn turn = co_await container->lane.take();
    // --rm, or another client, may have been faster.
    if (container->gone) co_return;
    refuse_running();
    if (container->record->state.status == Status::restarting || is_running(container->record->state.status)) {
        container->update([](ContainerRecord& next) { next.stopped_by_user = true; });
        co_await stop_held(container, {.timeout = 0, .signal = "SIGKILL"});
    }
    container->removal_failed = false;
    try {
        co_await remove_held(container, remove_options.volumes);
    } catch (...) {
        // As where the disk is full: who made room asks again.
        container->removal_failed = true;
        throw;
    }
}

asio::awaitable<void> Engine::Impl::remove_held(ContainerPtr container, bool with_volumes) {
    while (container->cleaning) co_await container->changed.wait();
    container->update([](ContainerRecord& next) { next.state.status = Status::removing; });
    publish(*container);
    container->attaches.clear();
    const std::string id = container->id();
    const bool image_is_gone = [&] {
        const auto image = rooms.images.find(container->record->image_id);
        return !image;
    }();
    const bool takes_volumes = with_volumes && !container->record->anonymous_volumes.empty();
    if (takes_volumes && !container->record->host_config.auto_remove) {
        // "removing" in the store says: to be removed with its volumes. Recovery goes on with it.
        save(*container);
        co_await saver.flushed();
    }
    StringList volumes;
    for (const auto& name : takes_volumes ? container->record->anonymous_volumes : StringList())
        if (volume_users(name) == StringList{id}) volumes.push_back(name);
    auto take_away = [this, record = container->record, directory = container_directory(id), image_is_gone, volumes] {
        rooms.networks.release(record->id);
        for (const auto& name : volumes)
            if (rooms.volumes.find(name)) rooms.volumes.remove(name, {});
        rooms.layers.remove(record->id);
        std::error_code error;
        std::filesystem::remove_all(directory, error);
        if (error) log::warn("container {}: remove {}: {}", record->id, directory, error.message());
        if (image_is_gone) rooms.images.collect();
        return true;
    };
    co_await offload(pool, std::move(take_away));
    crash_point("engine-removing");
    if (!container->record->host_config.auto_remove) {
        saver.remove(id);
        co_await saver.flushed();
    }
    auto forget = [live = live_directory(id)] {
        std::error_code ignored;
        std::filesystem::remove_all(live, ignored);
        return true;
    };
    co_await offload(pool, std::move(forget));

    container->gone = true;
    rooms.images.touch(container->record->image_id, container->record->state.finished_at);
    containers.erase(id);
    for (const auto& [alias, target] : container->record->links) {
        const auto others = linked_from.find(target);
        if (others == linked_from.end()) continue;
        others->second.erase(id);
        if (others->second.empty()) linked_from.erase(others);
    }
    names.erase(container->record->name);
    publish(*container);
    for (const auto& name : volumes)
        events.publish({.type = "volume", .action = "destroy", .id = name, .attributes = {{"driver", "local"}}});
    emit(*container->record, "destroy");
    resolve_waiters(*container, true);
}

asio::awaitable<Pruned> Engine::Impl::prune(std::function<bool(const ContainerRecord&)> keep) {
    std::vector<ContainerPtr> stopped;
    for (const auto& [id, container] : containers)
        if (!is_running(container->record->state.status) && container->record->state.status != Status::restarting &&
            !(keep && keep(*container->record)))
            stopped.push_back(container);
    Pruned out;
    for (const auto& container : stopped) {
        const Lane::Turn turn = co_await container->lane.take();
        // Another client may have started it, its policy may be about to.
        const Status status = container->record->state.status;
        if (container->gone || is_running(status) || status == Status::restarting || (keep && keep(*container->record))) continue;
        auto measure = [this, id = container->id()] { return rooms.layers.has_container(id) ? rooms.layers.usage(id) : 0; };
        out.reclaimed += co_await offload(pool, std::move(measure));
        co_await remove_held(container, false);
        out.deleted.push_back(container->id());
    }
    events.publish({.type = "container", .action = "prune", .id = "", .attributes = {{"reclaimed", std::to_string(out.reclaimed)}}});
    co_return out;
}

}  // namespace grua::engine
