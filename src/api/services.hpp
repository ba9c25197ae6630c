// What the routes work on; built by gruad's main and handed down.
#pragma once

#include "base/text.hpp"
#include "base/transfers.hpp"
#include "engine/engine.hpp"
#include "engine/model/documents.hpp"
#include "registry/client.hpp"
#include "registry/signatures.hpp"

#include <string>
#include <vector>

namespace grua::api {

/// What gruad was told that the engine does not need to know. SIGHUP changes debug and labels.
struct Settings {
    bool debug = false;
    std::vector<std::string> labels;              ///< "key=value", shown by info.
    std::vector<engine::Ulimit> default_ulimits;  ///< For containers that do not set the same.
    std::string id;                               ///< Of this data root, for info.
};

struct Services {
    engine::Engine& engine;
    asio::thread_pool& pool;
    Settings& settings;
    const registry::Client& registry;
    const registry::SignaturePolicy& signatures;
    Transfers& transfers;
};

}  // namespace grua::api
