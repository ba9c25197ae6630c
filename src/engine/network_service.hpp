// Networks and who is on them.
#pragma once

#include "base/async.hpp"
#include "engine/containers.hpp"
#include "network/config.hpp"

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::engine {

using network::is_predefined;
using network::NetworkConfig;

/// A network and the containers that are on it, or will be when they run.
struct ListedNetwork {
    NetworkConfig config;
    std::vector<RecordPtr> containers;
};

/// A way from one to another, by names, and what trying it said.
struct Reached {
    std::string from, to;            ///< "host", "outside" or a container's name.
    std::string by;                  ///< "network front", "policy", "published", "routed"
    std::string address;             ///< That is spoken to; 0.0.0.0 and :: are any of the host's.
    bool all = false;                ///< Every port, and what has none.
    std::vector<std::string> ports;  ///< "80/tcp", where not all.
    struct Probe {
        std::string port;  ///< "80/tcp"
        bool open = false;
        bool expected = false;  ///< By the rules.
    };
    std::vector<Probe> probed;
};

class NetworkService : public Service {
public:
    using Service::Service;

    std::vector<ListedNetwork> list() const;
    /// By name, ID or unique prefix of the ID. Throws Error(not_found) "network x not found", invalid_argument for an ambiguous prefix.
    ListedNetwork find(std::string_view reference) const;

    asio::awaitable<NetworkConfig> create(NetworkConfig request) const;
    asio::awaitable<ListedNetwork> update(std::string reference, StringMap options) const;
    asio::awaitable<void> remove(std::string reference) const;
    /// Those that no container is on, or would be on if it were started.
    asio::awaitable<Pruned> prune(std::function<bool(const NetworkConfig&)> keep) const;

    /// While the container runs it takes effect at once, else at its start.
    asio::awaitable<void> connect(std::string container, std::string network, EndpointSettings settings) const;
    asio::awaitable<void> disconnect(std::string container, std::string network, bool force) const;

    /// Every way between the containers that run, the host and the outside, by their names; with a probe also what trying says.
    asio::awaitable<std::vector<Reached>> reach(bool with_probe) const;
};

}  // namespace grua::engine
