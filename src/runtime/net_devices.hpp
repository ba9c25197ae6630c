// Network interfaces of the host that a container takes for itself (config-linux.md#network-devices).
#pragma once

#include "oci/runtime_spec.hpp"

#include <sys/types.h>
#include <map>
#include <string>

namespace grua::runtime {

using NetDevices = std::map<std::string, oci::NetDevice>;

/// Throws Error(invalid_argument) for a name that no interface can have.
void check_net_devices(const NetDevices& devices);

/// Moves them to the network namespace of process `pid`, with their global addresses, and sets them up there. For a single-threaded caller.
/// They go back to the host when the namespace ends, as the kernel has it.
void move_net_devices(const NetDevices& devices, pid_t pid);

}  // namespace grua::runtime
