// What is asked of networks; the network itself is the engine's document.
#pragma once

#include "engine/model/documents.hpp"

#include <optional>
#include <string>

namespace grua::api::wire {

struct NetworkConnect {
    std::string container;
    std::optional<engine::EndpointSettings> endpoint_config;
    template <typename Self = NetworkConnect>
    static json::Fields fields() {
        return json::Fields{json::field("Container", &Self::container), json::field("EndpointConfig", &Self::endpoint_config)};
    }
};

struct NetworkDisconnect {
    std::string container;
    bool force = false;
    template <typename Self = NetworkDisconnect>
    static json::Fields fields() {
        return json::Fields{json::field("Container", &Self::container), json::field("Force", &Self::force)};
    }
};

struct NetworkUpdate {
    engine::StringMap options;
    template <typename Self = NetworkUpdate>
    static json::Fields fields() {
        return json::Fields{json::field("Options", &Self::options)};
    }
};

}  // namespace grua::api::wire
