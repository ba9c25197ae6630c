#include "network/config.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

#include <linux/if_link.h>
#include <net/if.h>
#include <algorithm>
#include <array>

namespace grua::network {

using linux::Ip;
using linux::IpPrefix;

namespace {

constexpr unsigned largest_mtu = 65535;
constexpr unsigned smallest_mtu = 68;  // What IPv4 needs of a link.

/// The option's value; nothing where it is not there.
const std::string* option(const NetworkConfig& config, const std::string& name) {
    const auto found = config.options.find(name);
    return found == config.options.end() ? nullptr : &found->second;
}

[[noreturn]] void refuse(std::string_view option, std::string_view value, std::string_view why) {
    fail(ErrorKind::invalid_argument, "failed to parse {} value: {} ({})", option, value, why);
}

bool flag(const NetworkConfig& config, const std::string& name, bool otherwise) {
    const std::string* text = option(config, name);
    if (!text) return otherwise;
    const auto value = parse_bool(*text);
    if (!value) refuse(name, *text, fmt::format("strconv.ParseBool: parsing \"{}\": invalid syntax", *text));
    return *value;
}

unsigned mtu_of(const NetworkConfig& config) {
    const std::string* text = option(config, "com.docker.network.driver.mtu");
    if (!text) return 0;
    const auto value = parse_int(*text);
    if (!value) refuse("com.docker.network.driver.mtu", *text, fmt::format("strconv.Atoi: parsing \"{}\": invalid syntax", *text));
    if (*value < 0 || *value > largest_mtu || (*value != 0 && *value < smallest_mtu))
        fail(ErrorKind::invalid_argument, "invalid MTU number: {}", *value);
    return static_cast<unsigned>(*value);
}

GatewayMode gateway_mode(const NetworkConfig& config, const std::string& name) {
    const std::string* text = option(config, name);
    if (!text || text->empty() || *text == "nat") return GatewayMode::nat;
    if (*text == "nat-unprotected") return GatewayMode::nat_unprotected;
    if (*text == "routed") return GatewayMode::routed;
    if (*text != "isolated") refuse(name, *text, fmt::format("unknown gateway mode {}", *text));
    if (!config.internal) fail(ErrorKind::invalid_argument, "gateway mode 'isolated' can only be used for an internal network");
    return GatewayMode::isolated;
}

std::optional<Ip> address(const NetworkConfig& config, const std::string& name, std::optional<Ip::Family> family) {
    const std::string* text = option(config, name);
    if (!text || text->empty()) return std::nullopt;
    const auto value = Ip::parse(*text);
    if (!value || (family && value->family != *family)) refuse(name, *text, "invalid address");
    return value;
}

std::string link_name(const std::string& text, std::string_view what) {
    const auto allowed = [](char c) { return c > ' ' && c != '/' && c != ':' && c < 127; };
    if (text.empty() || text.size() >= IFNAMSIZ || text == "." || text == ".." || !std::ranges::all_of(text, allowed))
        fail(ErrorKind::invalid_argument, "{} \"{}\" is no name of an interface (up to 15 characters)", what, text);
    return text;
}

std::string interface_prefix(const NetworkConfig& config) {
    const std::string* text = option(config, "com.docker.network.container_iface_prefix");
    if (!text || text->empty()) return "eth";
    link_name(*text + "999", "container_iface_prefix");
    return *text;
}

}  // namespace

std::optional<bool> parse_bool(std::string_view text) noexcept {
    for (const std::string_view each : {"1", "t", "T", "true", "TRUE", "True"})
        if (text == each) return true;
    for (const std::string_view each : {"0", "f", "F", "false", "FALSE", "False"})
        if (text == each) return false;
    return std::nullopt;
}

bool is_predefined(std::string_view name) noexcept { return name == "bridge" || name == "host" || name == "none" || name == "default"; }

BridgeSettings bridge_settings(const NetworkConfig& config) {
    BridgeSettings out;
    out.link = "br-" + config.id.substr(0, 12);
    if (const std::string* text = option(config, "com.docker.network.bridge.name"); text && !text->empty())
        out.link = link_name(*text, "bridge name");
    out.icc = flag(config, "com.docker.network.bridge.enable_icc", true);
    out.masquerade = flag(config, "com.docker.network.bridge.enable_ip_masquerade", true);
    out.inhibit_ipv4 = flag(config, "com.docker.network.bridge.inhibit_ipv4", false);
    out.mode4 = gateway_mode(config, "com.docker.network.bridge.gateway_mode_ipv4");
    out.mode6 = gateway_mode(config, "com.docker.network.bridge.gateway_mode_ipv6");
    out.mtu = mtu_of(config);
    if (const std::string* text = option(config, "com.docker.network.bridge.trusted_host_interfaces"); text && !text->empty())
        for (const std::string& each : split(*text, ':')) out.trusted.push_back(link_name(each, "trusted_host_interfaces:"));
    out.host_binding = address(config, "com.docker.network.bridge.host_binding_ipv4", {});
    out.source4 = address(config, "com.docker.network.host_ipv4", Ip::Family::v4);
    out.source6 = address(config, "com.docker.network.host_ipv6", Ip::Family::v6);
    out.interface_prefix = interface_prefix(config);
    out.allow_spoofing = flag(config, "grua.network.allow_spoofing", false);
    const auto text = [&](const char* name) {
        const std::string* value = option(config, name);
        return value ? std::string_view(*value) : std::string_view();
    };
    out.limits = parse_limits(text(rate_in_option), text(rate_out_option), text(burst_option));
    if (const std::string* value = option(config, allow_option)) {
        std::vector<std::string> peers = split(*value, ' ');
        std::erase_if(peers, [](const std::string& each) { return each.empty(); });
        out.policy = parse_policy(peers);
    }
    return out;
}

ChildSettings child_settings(const NetworkConfig& config) {
    ChildSettings out;
    if (const std::string* text = option(config, "parent"); text && !text->empty()) out.parent = link_name(*text, "parent");
    out.mtu = mtu_of(config);
    out.interface_prefix = interface_prefix(config);
    struct Mode {
        std::string_view name;
        unsigned value;
    };
    const auto choose = [&](const std::string& name, std::initializer_list<Mode> modes) {
        const std::string* text = option(config, name);
        if (!text || text->empty()) return modes.begin()->value;
        for (const Mode& each : modes)
            if (each.name == *text) return each.value;
        fail(ErrorKind::invalid_argument, "requested {} mode '{}' is not valid, '{}' mode is the {} driver default", config.driver, *text,
             modes.begin()->name, config.driver);
    };
    if (config.driver == "macvlan") {
        out.mode = choose("macvlan_mode", {{"bridge", MACVLAN_MODE_BRIDGE},
                                           {"private", MACVLAN_MODE_PRIVATE},
                                           {"vepa", MACVLAN_MODE_VEPA},
                                           {"passthru", MACVLAN_MODE_PASSTHRU}});
        out.passthru = out.mode == MACVLAN_MODE_PASSTHRU;
        return out;
    }
    out.mode = choose("ipvlan_mode", {{"l2", IPVLAN_MODE_L2}, {"l3", IPVLAN_MODE_L3}, {"l3s", IPVLAN_MODE_L3S}});
    out.flags = choose("ipvlan_flag", {{"bridge", 0}, {"private", IPVLAN_F_PRIVATE}, {"vepa", IPVLAN_F_VEPA}});
    out.layer3 = out.mode != IPVLAN_MODE_L2;
    return out;
}

void check_ipam(const std::vector<IpamConfig>& config, bool with_ipv6) {
    std::vector<std::string> errors;
    for (const IpamConfig& each : config) {
        if (each.subnet.empty()) {
            if (!each.gateway.empty() || !each.ip_range.empty() || !each.auxiliary_addresses.empty())
                fail(ErrorKind::invalid_argument,
                     "invalid network config: a gateway, an IP range or an auxiliary address without a subnet");
            continue;
        }
        const auto subnet = IpPrefix::parse(each.subnet);
        if (!subnet) fail(ErrorKind::invalid_argument, "invalid network config: invalid subnet {}", each.subnet);
        if (subnet->address.is_v6() && !with_ipv6) continue;
        const int family = subnet->address.is_v6() ? 6 : 4;
        if (*subnet != subnet->subnet())
            errors.push_back(fmt::format("invalid subnet {}: it should be {}", each.subnet, subnet->subnet().text()));
        const auto check = [&](const std::string& text, const std::string& what) {
            if (text.empty()) return;
            const auto address = Ip::parse(text);
            if (!address) {
                errors.push_back(fmt::format("invalid {} {}: no address", what, text));
            } else if (address->family != subnet->address.family) {
                errors.push_back(fmt::format("invalid {} {}: parent subnet is an IPv{} block", what, text, family));
            } else if (!subnet->contains(*address)) {
                errors.push_back(fmt::format("invalid {} {}: parent subnet {} doesn't contain this address", what, text, each.subnet));
            }
        };
        if (!each.ip_range.empty()) {
            const auto range = IpPrefix::parse(each.ip_range);
            if (!range) {
                errors.push_back(fmt::format("invalid ip-range {}: no subnet", each.ip_range));
            } else if (range->address.family != subnet->address.family) {
                errors.push_back(fmt::format("invalid ip-range {}: parent subnet is an IPv{} block", each.ip_range, family));
            } else if (*range != range->subnet()) {
                errors.push_back(fmt::format("invalid ip-range {}: it should be {}", each.ip_range, range->subnet().text()));
            } else if (range->length < subnet->length) {
                errors.push_back(
                    fmt::format("invalid ip-range {}: CIDR block is bigger than its parent subnet {}", each.ip_range, each.subnet));
            } else if (!subnet->contains(range->address)) {
                errors.push_back(fmt::format("invalid ip-range {}: parent subnet {} doesn't contain ip-range", each.ip_range, each.subnet));
            }
        }
        check(each.gateway, "gateway");
        for (const auto& [name, text] : each.auxiliary_addresses) check(text, "auxiliary address " + name);
    }
    if (!errors.empty()) fail(ErrorKind::invalid_argument, "invalid network config:\n{}", join(errors, "\n"));
}

}  // namespace grua::network
