#pragma once

#include "engine/networking/networking.hpp"
#include "engine/options.hpp"
#include "network/networks.hpp"

#include <string>

namespace grua::engine {

/// Of what is being started: hosts, hostname where it has one of its own, resolv.conf.
void write_network_files(const Options& options, const network::Networks& networks, const ContainerRecord& record,
                         const std::string& hostname, const LinkedHosts& linked);

}  // namespace grua::engine
