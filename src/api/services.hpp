// What the routes work on.
#pragma once

#include "base/text.hpp"
#include "base/transfers.hpp"
#include "build/service.hpp"
#include "engine/engine.hpp"
#include "engine/model/documents.hpp"

#include <string>
#include <utility>
#include <vector>

namespace grua::api {

/// The oldest and the newest version of the API that this code speaks.
inline constexpr json::Version oldest_version{1, 24};
inline constexpr json::Version newest_version{1, 51};

/// What gruad was told that the engine does not need to know. SIGHUP changes debug and labels.
struct Settings {
    bool debug = false;
    std::vector<std::string> labels;              ///< "key=value", shown by info.
    std::vector<engine::Ulimit> default_ulimits;  ///< For containers that do not set the same.
    std::vector<std::string> insecure_registries;
    std::vector<std::string> registry_mirrors;
    std::vector<std::pair<std::string, unsigned>> address_pools;  ///< Base and size, of networks that ask for no subnet.
    std::string id;                                               ///< Of this data root, for info.
    json::Version oldest_version = api::oldest_version;           ///< That is spoken.
};

/// What the server works on; built by gruad's main and handed down.
struct Backend {
    const engine::Engine& engine;
    asio::thread_pool& pool;
    const Settings& settings;
    Transfers& transfers;
    build::BuildService& builds;
};

/// What one request works with: the engine as its client may ask it, and the machine.
struct Services : engine::Services {
    asio::thread_pool& pool;
    const Settings& settings;
    Transfers& transfers;
    build::BuildService& builds;
};

}  // namespace grua::api
