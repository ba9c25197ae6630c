// Device nodes of the host that a container is given.
#pragma once

#include "engine/spec/spec.hpp"

namespace grua::engine {

/// Of --device, and all of /dev with --privileged. Throws Error(invalid_argument) where one does not exist.
std::vector<GrantedDevice> granted_devices(const HostConfig& config);

/// Numbers of the paths that blkio limits name. Throws Error(invalid_argument).
DeviceNumbers block_device_numbers(const HostConfig& config);

}  // namespace grua::engine
