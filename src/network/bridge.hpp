// Links of the host that networks stand on: bridges, made or adopted; what else is in the host's network namespace.
#pragma once

#include "linux/netlink.hpp"
#include "linux/sysctls.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::network {

/// What is there, read once for many bridges.
struct Present {
    std::vector<linux::Link> links;
    std::vector<linux::LinkAddress> addresses;

    const linux::Link* find(std::string_view name) const;
};
Present look(linux::Netlink& netlink);

struct BridgeRequest {
    std::string name;
    std::string alias;                       ///< Whose it is.
    unsigned mtu = 0;                        ///< Of one that is made, or ours.
    std::vector<linux::IpPrefix> addresses;  ///< The host's own on it.
    bool ipv6 = false;
    bool route_localnet = false;  ///< The host's programs reach containers from 127.0.0.1.
};

struct Bridge {
    int index = 0;
    bool ours = true;  ///< Not one that somebody else made.
};

/// The bridge is there and up with these addresses. Throws Error(conflict) where a link of that name is no bridge.
Bridge ensure_bridge(linux::Netlink& netlink, const Present& present, const BridgeRequest& request);

/// Up to 15 characters that every tool can name. Throws Error(invalid_argument).
void check_bridge_name(const std::string& name);

/// The default route's link.
struct Uplink {
    int index = 0;        ///< 0 where there is none.
    unsigned mtu = 1500;  ///< For networks: the link's, at most 1500.
};
Uplink find_uplink(linux::Netlink& netlink);

/// What the host uses besides links with these aliases' prefix: addresses, routes, and the nameservers that it reaches
/// through its default route.
std::vector<linux::IpPrefix> used_by_host(linux::Netlink& netlink, const Present& present, std::string_view our_alias);

/// Switches forwarding of the family on where it is off. Routers' advertisements stay welcome where they were.
void ensure_forwarding(linux::Ip::Family family);

/// IPv6 off, or on without advertisements of routers and without waiting for duplicates, on a link of the calling
/// thread's network namespace. Nothing where the kernel has no IPv6.
void set_ipv6(const linux::Sysctls& kernel, const std::string& link, bool on);

}  // namespace grua::network
