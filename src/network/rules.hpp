// The firewall: what is allowed is decided here, as the text of two nftables tables and as elements of their sets.
//
// Each network, endpoint and published port is elements of sets that the rules look into, so a packet meets the same few rules
// however many there are, and the thousandth endpoint costs what the first did. Rules that only some networks need join
// with the first element that needs them.
// Other tables are never touched, and what they drop (a FORWARD policy of drop, for one) stays dropped: an accept in
// nftables ends its own chain only.
#pragma once

#include "linux/nftables_elements.hpp"
#include "network/config.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace grua::network {

using Elements = std::vector<linux::NftElement>;

/// Of both tables, "inet NAME" and "bridge NAME"; `bridge` is the daemon's default bridge.
std::string table_name(const std::string& bridge);

enum class OptionalRules { shares, neighbours };
/// What an element needs beyond what is always there.
std::optional<OptionalRules> needed_rules(const linux::NftElement& element);

/// The tables as a whole, in the place of what they were, with the elements given. With the name of a loop link also the ones
/// that guarded ports need: see docs/networks.md.
std::string ruleset(const std::string& table, const Elements& elements, const std::string& loop = {});
/// Names of the two ends of the link by which admitted packets come in again, "LOOP" and "LOOPi".
/// What comes in by the link for admitted connections has this mark while reverse paths are checked, which look into a routing
/// table of its own then.
constexpr std::uint32_t loop_mark = 0x40000000;
constexpr std::uint32_t loop_route_table = 0x67727561;

std::string loop_name(const std::string& bridge);
/// How many rules the table of family inet has.
std::size_t rule_count_of(const std::string& ruleset);

struct NetworkRules {
    std::string link;
    bool internal = false;
    bool ipv4 = true, ipv6 = false;
    BridgeSettings settings;
};
Elements network_elements(const NetworkRules& network);

struct EndpointRules {
    std::string link;  ///< The host's end.
    linux::Mac mac;
    std::vector<linux::Ip> addresses;
    bool allow_spoofing = false;
    bool closed = false;      ///< Containers of the network do not reach each other.
    std::uint16_t share = 0;  ///< Of the network's rate, where that is limited.
};
Elements endpoint_elements(const EndpointRules& endpoint);

struct PortRules {
    std::uint8_t protocol = 0;
    std::optional<linux::Ip> host_address;  ///< None: all of the host's addresses of the container address' family.
    std::uint16_t host_port = 0;            ///< 0: none on the host; the network is routed.
    linux::Ip address;
    std::uint16_t port = 0;
    bool closed = false;   ///< As of the endpoint.
    bool guarded = false;  ///< The host's input rules decide who from outside reaches it.
};
Elements port_elements(const PortRules& port);

/// Who may reach an address that is restricted; what no rule allows is dropped.
struct AllowedRules {
    linux::Ip address;
    std::optional<linux::Ip> source;  ///< Of a container; without one, all containers of the bridge `source_link`.
    std::string source_link;
    bool is_neighbour = false;                                  ///< They are on one bridge.
    std::vector<std::pair<std::uint8_t, std::uint16_t>> ports;  ///< Protocol and port; none: all, and what has no ports.
};
Elements allowed_elements(const AllowedRules& rules);
/// An IPv4 address that somebody on a closed port has a link to: its neighbours may ask for its MAC.
linux::NftElement linked_element(const linux::Ip& address);
linux::NftElement restricted_element(const linux::Ip& address);

}  // namespace grua::network
