#pragma once

#include "engine/networking/networking.hpp"
#include "engine/options.hpp"
#include "network/networks.hpp"

#include <string>

namespace grua::engine {

/// Of a container that is being started: hosts, hostname, resolv.conf.
void write_network_files(const Options& options, const network::Networks& networks, const ContainerRecord& record,
                         const std::string& hostname, const LinkedHosts& linked);

}  // namespace grua::engine
