#include "base/log.hpp"
#include "engine/engine_impl.hpp"
#include "volumes/volumes.hpp"

#include <algorithm>

namespace grua::engine {

std::map<std::string, std::size_t> Engine::Impl::volume_uses() const {
    std::map<std::string, std::size_t> out;
    for (const auto& [id, container] : containers) {
        std::set<std::string_view> once;
        for (const MountPoint& mount : container->record->mounts) {
            if (!mount.name.empty() && once.insert(mount.name).second) ++out[mount.name];
        }
    }
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
    // From the look at its users on nobody gets a lease on it.
    const auto removal = std::make_shared<volumes::Removal>(rooms.volumes.begin_removal(name, volume_users(name)));
    co_await offload(pool, [removal] { removal->finish(); });
    events.publish({.type = "volume", .action = "destroy", .id = name, .attributes = {{"driver", "local"}}});
}

asio::awaitable<Pruned> Engine::Impl::prune_volumes(std::function<bool(const volumes::Volume&)> keep) {
    Pruned out;
    for (const auto& volume : rooms.volumes.list()) {
        // As in Docker: what lies where options say is not this machine's to make room in.
        if (!volume->options.empty() || (keep && keep(*volume)) || !volume_users(volume->name).empty()) continue;
        auto measure = [this, volume] { return rooms.volumes.usage(*volume); };
        const std::uint64_t bytes = co_await at_length(std::move(measure));
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
