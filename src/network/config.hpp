// What a network is: Docker's Network document, as a client asks for it, as it is stored and as inspect shows it; and what
// its driver reads from it. Values and checks only.
#pragma once

#include "base/codec.hpp"
#include "linux/ip_address.hpp"
#include "network/policy.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::network {

using json::field;
using StringMap = std::map<std::string, std::string>;

struct IpamConfig {
    std::string subnet;    ///< "10.99.1.0/24"; empty in a request: one is chosen.
    std::string ip_range;  ///< The part of it that containers get their addresses from.
    std::string gateway;
    StringMap auxiliary_addresses;  ///< By name; given to no container.

    template <typename Self = IpamConfig>
    static json::Fields fields() {
        return json::Fields{field("Subnet", &Self::subnet).omitted_when_empty(), field("IPRange", &Self::ip_range).omitted_when_empty(),
                            field("Gateway", &Self::gateway).omitted_when_empty(),
                            field("AuxiliaryAddresses", &Self::auxiliary_addresses).omitted_when_empty()};
    }
    bool operator==(const IpamConfig&) const = default;
};

struct Ipam {
    std::string driver;
    std::optional<StringMap> options;
    std::vector<IpamConfig> config;

    template <typename Self = Ipam>
    static json::Fields fields() {
        return json::Fields{field("Driver", &Self::driver), field("Options", &Self::options), field("Config", &Self::config)};
    }
    bool operator==(const Ipam&) const = default;
};

struct ConfigReference {
    std::string network;

    template <typename Self = ConfigReference>
    static json::Fields fields() {
        return json::Fields{field("Network", &Self::network)};
    }
    bool operator==(const ConfigReference&) const = default;
};

struct NetworkConfig {
    std::string name;
    std::string id;
    std::string created;
    std::string scope;
    std::string driver;
    std::optional<bool> enable_ipv4;  ///< Always there once the network is made; so are the others.
    std::optional<bool> enable_ipv6;
    Ipam ipam;
    bool internal = false;
    bool attachable = false;
    bool ingress = false;
    ConfigReference config_from;
    bool config_only = false;
    StringMap options;
    StringMap labels;

    template <typename Self = NetworkConfig>
    static json::Fields fields() {
        return json::Fields{field("Name", &Self::name),
                            field("Id", &Self::id),
                            field("Created", &Self::created),
                            field("Scope", &Self::scope),
                            field("Driver", &Self::driver),
                            field("EnableIPv4", &Self::enable_ipv4).added_in(48),
                            field("EnableIPv6", &Self::enable_ipv6),
                            field("IPAM", &Self::ipam),
                            field("Internal", &Self::internal),
                            field("Attachable", &Self::attachable),
                            field("Ingress", &Self::ingress),
                            field("ConfigFrom", &Self::config_from),
                            field("ConfigOnly", &Self::config_only),
                            field("Options", &Self::options),
                            field("Labels", &Self::labels)};
    }
    bool has_ipv4() const noexcept { return enable_ipv4.value_or(true); }
    bool has_ipv6() const noexcept { return enable_ipv6.value_or(false); }
    bool operator==(const NetworkConfig&) const = default;
};

/// bridge, host, none and default: nobody makes or removes them.
bool is_predefined(std::string_view name) noexcept;

/// How what is outside reaches a bridge network's containers.
enum class GatewayMode : std::uint8_t {
    nat,              ///< By published ports of the host, translated; nothing else gets in.
    nat_unprotected,  ///< The same, and who has a route to a container reaches all its ports.
    routed,           ///< At their own addresses, on published ports only; nothing is translated.
    isolated,         ///< For internal networks: the host has no address on the bridge.
};

/// What a bridge network's options say.
struct BridgeSettings {
    std::string link;  ///< Kernel name of the bridge.
    bool icc = true;
    bool masquerade = true;
    bool inhibit_ipv4 = false;  ///< The host gets no IPv4 address on it.
    GatewayMode mode4 = GatewayMode::nat;
    GatewayMode mode6 = GatewayMode::nat;
    unsigned mtu = 0;                           ///< 0: that of the host's default route.
    std::vector<std::string> trusted;           ///< Links of the host that may reach containers directly.
    std::optional<linux::Ip> host_binding;      ///< Where ports without an address of their own are published.
    std::optional<linux::Ip> source4, source6;  ///< What leaves has this address, instead of that of the link it leaves by.
    std::string interface_prefix = "eth";       ///< Of the interface's name in containers.
    bool allow_spoofing = false;                ///< Containers may send with other addresses than theirs.
    RateLimits limits;                          ///< Of what enters and leaves the network, shared by its containers.
    std::optional<Policy> policy;               ///< Of its containers that have none of their own.
};

// Options of bridge networks that are grua's own and may change while containers are on it.
constexpr const char* rate_in_option = "grua.network.rate_in";
constexpr const char* rate_out_option = "grua.network.rate_out";
constexpr const char* burst_option = "grua.network.burst";
constexpr const char* allow_option = "grua.network.allow";  ///< Several are separated by blanks.
constexpr std::array changeable_options{rate_in_option, rate_out_option, burst_option, allow_option};

/// Throws Error(invalid_argument) that names the option.
BridgeSettings bridge_settings(const NetworkConfig& config);

/// macvlan and ipvlan.
struct ChildSettings {
    std::string parent;   ///< Link of the host; empty for a network that leads nowhere.
    unsigned mode = 0;    ///< MACVLAN_MODE_… or IPVLAN_MODE_….
    unsigned flags = 0;   ///< IPVLAN_F_….
    bool layer3 = false;  ///< ipvlan l3, l3s: containers have no gateway.
    bool passthru = false;
    unsigned mtu = 0;
    std::string interface_prefix = "eth";
};
ChildSettings child_settings(const NetworkConfig& config);

/// Subnets, ranges, gateways and auxiliary addresses. Throws Error(invalid_argument) that lists what is wrong, as Docker's.
void check_ipam(const std::vector<IpamConfig>& config, bool with_ipv6);

/// Go's strconv.ParseBool.
std::optional<bool> parse_bool(std::string_view text) noexcept;

}  // namespace grua::network
