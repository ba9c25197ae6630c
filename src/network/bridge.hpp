// The default bridge in the kernel: made or adopted, with its address, MTU and forwarding.
#pragma once

#include "linux/netlink.hpp"

#include <optional>
#include <string>

namespace grua::network {

struct BridgeRequest {
    std::string name;
    std::optional<linux::Ipv4Prefix> bip;         ///< The address that was asked for.
    std::optional<linux::Ipv4Prefix> remembered;  ///< The one that it had when the last gruad ran.
    unsigned mtu = 0;                             ///< 0: that of the default route's link, at most 1500.
};

struct Bridge {
    int index = 0;
    linux::Ipv4Prefix gateway;
    unsigned mtu = 0;
    bool ours = false;  ///< Made by grua, not adopted.
};

/// What a link's alias says when it belongs to this bridge: "grua:<bridge>" for itself, with ":<owner>" for a port.
std::string owner_alias(const std::string& bridge);

/// Throws Error(invalid_argument) for a name that the kernel or nftables cannot have.
void check_bridge_name(const std::string& name);

Bridge ensure_bridge(linux::Netlink& netlink, const BridgeRequest& request);

/// Switches net.ipv4.ip_forward on where it is off.
void ensure_forwarding();

/// No IPv6 address, no router advertisements on a link of the calling thread's network namespace. Nothing where the kernel has no IPv6.
void disable_ipv6(const std::string& link);

}  // namespace grua::network
