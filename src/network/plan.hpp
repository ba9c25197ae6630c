// What a network that is asked for will be: the request checked and every choice that it leaves open made, before anything of it exists.
// Values only: no kernel, no store, no clock. networks.cpp makes what stands here.
#pragma once

#include "network/address_pool.hpp"
#include "network/config.hpp"
#include "network/rules.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace grua::network {

/// Auxiliary addresses of these names are where containers' default routes lead.
constexpr const char* router4 = "DefaultGatewayIPv4";
constexpr const char* router6 = "DefaultGatewayIPv6";

/// Of a subnet: its bridge's, where nobody says otherwise.
linux::IpPrefix first_address(const linux::IpPrefix& subnet);

/// A network as it is to be.
struct NetworkPlan {
    NetworkConfig config;
    BridgeSettings bridge;  ///< Of driver bridge.
    ChildSettings child;    ///< Of macvlan and ipvlan.
    unsigned mtu = 0;
    std::vector<AddressPool> pools4, pools6;
    std::vector<linux::IpPrefix> gateways;  ///< One for each subnet that has one, with its prefix; IPv4 first.
    std::vector<linux::Ip> routers;  ///< Where containers' default routes lead instead: auxiliary addresses DefaultGatewayIPv4 and IPv6.
    Elements elements;

    bool is_bridge() const noexcept { return config.driver == "bridge"; }
    bool is_child() const noexcept { return config.driver == "macvlan" || config.driver == "ipvlan"; }
    std::optional<linux::IpPrefix> gateway(linux::Ip::Family family) const;
};

/// A network that is there already, as far as another one has to mind it.
struct Neighbour {
    NetworkConfig config;
    std::string link;  ///< Of a bridge network: its bridge.
    std::vector<linux::IpPrefix> subnets;
};

/// What a plan has to fit into.
struct Surroundings {
    std::vector<linux::IpPrefix> by_host;  ///< Addresses and routes of the host.
    std::vector<Neighbour> networks;
    std::vector<DefaultPool> pools;                    ///< Subnets for networks that ask for none; empty: network_pools().
    std::map<std::string, StringMap> network_options;  ///< By driver: of networks that do not say them.
    unsigned mtu = 0;                                  ///< Of bridges that do not say theirs.
};

/// Throws Error as Networks::create() does. `id` and `created` are the new network's.
NetworkPlan plan_network(NetworkConfig request, const Surroundings& around, std::string id, std::string created);

/// What follows from a configuration that has been through plan_network() before, or is the default bridge's. `used` is what a subnet that
/// is chosen must not meet.
NetworkPlan complete(NetworkConfig config, const std::vector<DefaultPool>& pools, std::vector<linux::IpPrefix> used, unsigned default_mtu);

}  // namespace grua::network
