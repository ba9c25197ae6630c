// The firewall of a bridge as text: what is allowed is decided here, applying it is linux/nftables.
#pragma once

#include "linux/netlink_address.hpp"

#include <cstddef>
#include <string>

namespace grua::network {

struct RulesOptions {
    std::string bridge;
    linux::Ipv4Prefix subnet;
    bool masquerade = true;
    bool icc = true;
};

std::string table_name(const std::string& bridge);

struct Ruleset {
    std::string text;
    std::size_t rules = 0;  ///< How many the table has afterwards.
};

/// Replaces the bridge's table as a whole. Each rule names the bridge, so no other traffic is touched - and what another
/// table drops (a FORWARD policy of drop, for one) stays dropped: an accept in nftables ends its own chain only.
Ruleset ruleset(const RulesOptions& options);

}  // namespace grua::network
