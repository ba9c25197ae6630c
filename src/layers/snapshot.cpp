#include "layers/snapshot.hpp"

#include "base/error.hpp"
#include "layers/overlay.hpp"

#include <fcntl.h>

namespace grua::layers {

Fd mount_snapshot(const LayerStore& layers, std::string_view container_id) {
    const LayerStore::Paths paths = layers.paths(container_id);
    const std::string top = paths.upper.substr(0, paths.upper.rfind("/containers/"));
    Overlay overlay{.lower = {paths.upper}, .read_only = true};
    // The folders stand in one text, each beginning like this; the store's own path may have a ':' in it.
    const std::string separator = ":" + top + "/l/";
    for (std::size_t at = 0; at < paths.lower.size();) {
        const std::size_t end = std::min(paths.lower.find(separator, at), paths.lower.size());
        overlay.lower.push_back(paths.lower.substr(at, end - at));
        at = end + 1;
    }
    // Without an upper overlayfs wants two.
    if (overlay.lower.size() < 2) overlay.lower.push_back(top + "/empty");
    return mount_overlay(overlay);
}

Fd open_upper(const LayerStore& layers, std::string_view container_id) {
    const std::string path = layers.paths(container_id).upper;
    Fd folder{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!folder) fail_errno("open folder {}", path);
    return folder;
}

}  // namespace grua::layers
