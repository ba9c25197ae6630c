// Removing the containers that nobody runs.
#include "base/log.hpp"
#include "engine/engine_impl.hpp"

namespace grua::engine {

asio::awaitable<Pruned> Engine::Impl::prune(std::function<bool(const ContainerRecord&)> keep) {
    const auto is_kept = [&](const Container& container) {
        const Status status = container.record->state.status;
        return is_running(status) || status == Status::restarting || status == Status::removing || container.phase == Phase::foreign ||
               (keep && keep(*container.record));
    };
    std::vector<ContainerPtr> stopped;
    for (const auto& [id, container] : containers)
        if (!is_kept(*container)) stopped.push_back(container);
    Pruned out;
    for (const auto& container : stopped) {
        const Lane::Turn turn = co_await container->lane.take();
        // Another client may have started it, its policy may be about to.
        if (container->is_gone() || is_kept(*container)) continue;
        auto measure = [this, id = container->id()] { return rooms.layers.has_container(id) ? rooms.layers.usage(id) : 0; };
        const std::uint64_t size = co_await at_length(std::move(measure));
        try {
            co_await remove_held(container, false);
        } catch (const Error& error) {
            // It is dead now, and the others have their turn.
            log::error("prune: container {}: {}", container->id(), error.what());
            continue;
        }
        out.reclaimed += size;
        out.deleted.push_back(container->id());
    }
    events.publish({.type = "container", .action = "prune", .id = "", .attributes = {{"reclaimed", std::to_string(out.reclaimed)}}});
    co_return out;
}

}  // namespace grua::engine
