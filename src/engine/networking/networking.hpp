// Between a container's record and the networks: what it asks for, what it got. Values only.
#pragma once

#include "engine/model/record.hpp"
#include "network/networks.hpp"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace grua::engine {

using Ports = std::map<std::string, std::vector<PortBinding>>;

/// A network that somebody made, by the name that a client gives: not bridge, host, none, default or container:….
bool is_user_defined(std::string_view network) noexcept;

/// The network that HostConfig.NetworkMode means: "default" is bridge. Empty for container:….
std::string network_of_mode(const std::string& mode);

/// True where the container has a network namespace of grua's making, with interfaces in it.
bool has_sandbox(const ContainerRecord& record);

/// What clients of the API may not ask an endpoint for. Throws Error(invalid_argument) that lists it.
void check_endpoint(const std::string& network, const EndpointSettings& settings, const std::optional<network::NetworkConfig>& found);
/// "name", "name:alias", or as inspect shows it, "/name:/self/alias". Throws Error(invalid_argument).
struct ContainerLink {
    std::string name, alias;
};
ContainerLink parse_link(const std::string& text);

/// Addresses and names, for a container's hosts file.
using LinkedHosts = std::vector<std::pair<std::string, std::string>>;

/// Of container `of`, which has a link to `other` under the name `alias`.
StringList link_environment(const std::string& of, const std::string& alias, const ContainerRecord& other, const std::string& address);

/// Rates and policy that labels give, where nothing else does: Docker's clients have no flags for them. When a container is created only.
void take_labels(const StringMap& labels, Resources& out);
/// Published and exposed ports, rates and policy. Throws Error(invalid_argument).
void check_networking(const ContainerConfig& config, const HostConfig& host_config);

network::RateLimits rate_limits(const Resources& resources);
std::optional<network::Policy> network_policy(const Resources& resources);

/// The names that other containers of the network find it by: its name, its aliases, its short ID, its hostname.
StringList dns_names(const ContainerRecord& record, const EndpointSettings& settings);

network::EndpointRequest endpoint_request(const ContainerRecord& record, const std::string& network, const EndpointSettings& settings,
                                          const std::string& mac);
/// The mode's network first, the others by name. `nameservers` are the daemon's.
network::SandboxRequest sandbox_request(const ContainerRecord& record, const StringList& nameservers);
std::vector<network::PortRequest> port_requests(const ContainerRecord& record);

/// What the container has now, into its record.
void set_endpoint(ContainerRecord& record, const network::Endpoint& endpoint);
Ports ports_of(const std::vector<network::PublishedPort>& published);
std::vector<network::PublishedPort> published_of(const Ports& ports);

// Changes of ports while a container runs. Each throws Error(invalid_argument) for what is no port.
std::vector<network::PortRequest> port_requests(const Ports& asked);
/// Those of `ports` that `pattern` means: an empty list, host address or host port means all.
Ports matching(const Ports& ports, const Ports& pattern);
void take_away(Ports& ports, const Ports& removed);

/// Nothing of the last run is left: addresses, ports.
void clear_networking(ContainerRecord& record);

// A container's resolver, for what holds it: tasks::Task::hold().
std::map<std::string, Fd> held_of(network::ResolverSockets sockets);
network::ResolverSockets resolver_of(std::map<std::string, Fd>& held);

/// Of a record of a container that runs.
network::Attachment attachment_of(const ContainerRecord& record, const StringList& nameservers);

}  // namespace grua::engine
