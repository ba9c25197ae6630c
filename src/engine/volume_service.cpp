#include "engine/volume_service.hpp"

#include "engine/engine_impl.hpp"

namespace grua::engine {

std::vector<ListedVolume> VolumeService::list() const {
    Inside& engine = ask(Operation::volume_list);
    const std::map<std::string, std::size_t> users = engine.volume_uses();
    std::vector<ListedVolume> out;
    for (VolumePtr& volume : engine.rooms.volumes.list()) {
        const auto found = users.find(volume->name);
        out.push_back({.volume = std::move(volume), .users = found == users.end() ? 0 : found->second});
    }
    return out;
}

VolumePtr VolumeService::get(std::string_view name) const { return ask(Operation::volume_inspect, name).rooms.volumes.get(name); }

asio::awaitable<VolumePtr> VolumeService::create(VolumeRequest request) const {
    return ask(Operation::volume_create, request.name, &request).create_volume(std::move(request));
}

asio::awaitable<void> VolumeService::remove(std::string name, bool force) const {
    return ask(Operation::volume_remove, name).remove_volume(std::move(name), force);
}

asio::awaitable<Pruned> VolumeService::prune(std::function<bool(const Volume&)> keep) const {
    return ask(Operation::volume_prune).prune_volumes(std::move(keep));
}

}  // namespace grua::engine
