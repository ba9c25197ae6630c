// What the host remembers of its three networks from one gruad to the next: their IDs, and the default bridge's address.
#pragma once

#include "base/text.hpp"
#include "linux/netlink_address.hpp"

#include <optional>
#include <string>

namespace grua::network {

struct Catalog {
    std::string bridge_id, host_id, none_id;
    Time created;
    std::optional<linux::Ipv4Prefix> gateway;  ///< The bridge's address and prefix.
};

/// From `directory`/networks.json; with new IDs where there is none, or it cannot be used (which is logged).
Catalog load_catalog(const std::string& directory);

void save_catalog(const std::string& directory, const Catalog& catalog);

}  // namespace grua::network
