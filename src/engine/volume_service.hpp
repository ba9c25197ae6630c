// Volumes, with the engine's knowledge of who uses them, and events.
#pragma once

#include "base/async.hpp"
#include "engine/containers.hpp"
#include "volumes/volumes.hpp"

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::engine {

using volumes::Volume;
using volumes::VolumePtr;
using VolumeRequest = volumes::CreateOptions;

struct ListedVolume {
    VolumePtr volume;
    std::size_t users = 0;  ///< Containers that have it mounted, running or not.
};

class VolumeService : public Service {
public:
    using Service::Service;

    std::vector<ListedVolume> list() const;  ///< By name.
    /// Throws Error(not_found, "get x: no such volume").
    VolumePtr get(std::string_view name) const;

    /// The one that exists where there is one of this name.
    asio::awaitable<VolumePtr> create(VolumeRequest request) const;
    /// `force`: an unknown volume is no error.
    asio::awaitable<void> remove(std::string name, bool force) const;
    asio::awaitable<Pruned> prune(std::function<bool(const Volume&)> keep) const;
};

}  // namespace grua::engine
