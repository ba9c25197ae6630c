#include "base/log.hpp"
#include "engine/engine_impl.hpp"
#include "volumes/volumes.hpp"

#include <algorithm>

namespace grua::engine {

StringList Engine::Impl::volume_users(const std::string& name) const {
    StringList out;
    for (const auto& [id, container] : containers)
        if (std::ranges::find(container->record->mounts, name, &MountPoint::name) != container->record->mounts.end()) out.push_back(id);
    return out;
}

asio::awaitable<std::shared_ptr<const volumes::Volume>> Engine::Impl::create_volume(volumes::CreateOptions asked) {
    const bool known = !asked.name.empty() && rooms.volumes.find(asked.name);
    auto work = [this, asked = std::move(asked)] { return rooms.volumes.create(asked); };
    auto volume = co_await offload(pool, std::move(work));
    if (!known) events.publish({.type = "volume", .action = "create", .id = volume->name, .attributes = {{"driver", volume->driver}}});
    co_return volume;
}

asio::awaitable<void> Engine::Impl::remove_volume(std::string name, bool force) {
    if (force && !rooms.volumes.find(name)) co_return;
    auto work = [this, name, users = volume_users(name)] {
        rooms.volumes.remove(name, users);
        return true;
    };
    co_await offload(pool, std::move(work));
    events.publish({.type = "volume", .action = "destroy", .id = name, .attributes = {{"driver", "local"}}});
}

asio::awaitable<Pruned> Engine::Impl::prune_volumes(std::function<bool(const volumes::Volume&)> keep) {
    Pruned out;
    for (const auto& volume : rooms.volumes.list()) {
        if ((keep && keep(*volume)) || !volume_users(volume->name).empty()) continue;
        auto measure = [this, volume] { return rooms.volumes.usage(*volume); };
        const std::uint64_t bytes = co_await offload(pool, std::move(measure));
        try {
            co_await remove_volume(volume->name, false);
        } catch (const Error& error) {
            log::warn("prune volume {}: {}", volume->name, error.what());
            continue;
        }
        out.reclaimed += bytes;
        out.deleted.push_back(volume->name);
    }
    events.publish({.type = "volume", .action = "prune", .id = "", .attributes = {{"reclaimed", std::to_string(out.reclaimed)}}});
    co_return out;
}

}  // namespace grua::engine
