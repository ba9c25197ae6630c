// A container's files to look at while nobody runs in it: its writable layer and those below as one read-only tree. The writable
// layer is not claimed, so that the container can be started while somebody still reads.
#pragma once

#include "base/fd.hpp"
#include "layers/layers.hpp"

#include <string_view>

namespace grua::layers {

/// A detached mount. Throws as LayerStore::mount.
Fd mount_snapshot(const LayerStore& layers, std::string_view container_id);

/// The upper folder itself, where changes are.
Fd open_upper(const LayerStore& layers, std::string_view container_id);

}  // namespace grua::layers
