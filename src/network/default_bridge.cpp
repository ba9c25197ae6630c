// The network "bridge" as dockerd's options say it: bip, fixed-cidr, default-gateway and what there is from before.
#include "base/error.hpp"
#include "base/id.hpp"
#include "base/text.hpp"
#include "network/networks_impl.hpp"
#include "store/database.hpp"

#include <algorithm>

namespace grua::network {

using linux::Ip;
using linux::IpPrefix;

namespace {

IpPrefix parse_prefix(const std::string& text, Ip::Family family, std::string_view option) {
    const auto prefix = IpPrefix::parse(text);
    if (!prefix || prefix->address.family != family) fail(ErrorKind::invalid_argument, "{}: invalid CIDR address: {}", option, text);
    return *prefix;
}

IpPrefix parse_bip(const std::string& text, Ip::Family family, std::string_view option) {
    const IpPrefix bip = parse_prefix(text, family, option);
    if (AddressPool(bip).reserve(bip.address) != AddressPool::Reserved::yes) {
        fail(ErrorKind::invalid_argument, "{} {}: it is the address of the network, not of a host in it", option, text);
    }
    return bip;
}

/// Of the default bridge.
IpamConfig ipam_of(const IpPrefix& gateway, const std::optional<IpPrefix>& range, const std::string& router, const char* router_name,
                   const std::string& range_text, std::string_view router_option) {
    IpamConfig out{.subnet = gateway.subnet().text(), .gateway = gateway.address.text()};
    if (range) {
        if (!gateway.contains(range->address) || range->length < gateway.length)
            fail(ErrorKind::invalid_argument, "fixed-cidr {} is not within the default bridge's subnet {}", range_text, out.subnet);
        if (range->length > gateway.length) out.ip_range = range->text();
    }
    if (!router.empty()) {
        const auto address = Ip::parse(router);
        if (!address || !gateway.contains(*address))
            fail(ErrorKind::invalid_argument, "{} {} is no address of the default bridge's subnet {}", router_option, router, out.subnet);
        if (*address != gateway.address) out.auxiliary_addresses[router_name] = router;
    }
    return out;
}

}  // namespace

NetworkConfig Networks::State::default_bridge(const std::vector<IpPrefix>& used, const Present& present) {
    NetworkConfig config{.name = "bridge", .scope = "local", .driver = "bridge"};
    std::optional<IpPrefix> remembered;
    for (const store::Row& row : database.query("SELECT document FROM networks WHERE name = 'bridge'")) {
        const auto stored = json::parse<NetworkConfig>(row.text(0));
        config.id = stored.id;
        config.created = stored.created;
        if (!stored.ipam.config.empty()) {
            const IpamConfig& first = stored.ipam.config.front();
            const auto subnet = IpPrefix::parse(first.subnet);
            const auto gateway = Ip::parse(first.gateway);
            if (subnet && gateway) remembered = IpPrefix{*gateway, subnet->length};
        }
    }
    if (config.id.empty()) {
        config.id = random_id();
        config.created = format_time(now());
    }
    std::optional<IpPrefix> there;
    if (const linux::Link* link = present.find(options.bridge)) {
        for (const auto& address : present.addresses)
            if (address.link == link->index && address.address.address.is_v4() && !there) there = address.address;
    }
    const auto is_free = [&](const IpPrefix& prefix) {
        return std::ranges::none_of(used, [&](const IpPrefix& one) { return one.overlaps(prefix); });
    };
    const auto fixed =
        options.fixed_cidr.empty() ? std::nullopt : std::optional(parse_prefix(options.fixed_cidr, Ip::Family::v4, "fixed-cidr").subnet());
    // An address from before whose subnet does not hold the range is no candidate.
    for (auto* before : {&there, &remembered})
        if (*before && fixed && !(*before)->contains(fixed->address)) before->reset();
    IpPrefix gateway;
    if (!options.bip.empty()) {
        gateway = parse_bip(options.bip, Ip::Family::v4, "bip");
    } else if (there) {
        gateway = *there;
    } else if (remembered && is_free(*remembered)) {
        gateway = *remembered;
    } else if (fixed) {
        gateway = first_address(*fixed);
    } else {
        gateway = first_address(choose_subnet(options.pools.empty() ? default_bridge_pools() : options.pools, Ip::Family::v4, used));
    }
    const auto text = [](bool value) { return std::string(value ? "true" : "false"); };
    config.enable_ipv4 = true;
    config.enable_ipv6 = options.ipv6;
    config.ipam = {.driver = "default",
                   .options = {},
                   .config = {ipam_of(gateway, fixed, options.default_gateway, router4, options.fixed_cidr, "default-gateway")}};
    const auto fixed6 = options.fixed_cidr6.empty()
                            ? std::nullopt
                            : std::optional(parse_prefix(options.fixed_cidr6, Ip::Family::v6, "fixed-cidr-v6").subnet());
    if (options.ipv6 && (fixed6 || !options.bip6.empty())) {
        const IpPrefix gateway6 = options.bip6.empty() ? first_address(*fixed6) : parse_bip(options.bip6, Ip::Family::v6, "bip6");
        config.ipam.config.push_back(
            ipam_of(gateway6, fixed6, options.default_gateway6, router6, options.fixed_cidr6, "default-gateway-v6"));
    }
    config.options = {{"com.docker.network.bridge.default_bridge", "true"},
                      {"com.docker.network.bridge.enable_icc", text(options.icc)},
                      {"com.docker.network.bridge.enable_ip_masquerade", text(options.ip_masq)},
                      {"com.docker.network.bridge.host_binding_ipv4", options.port_address ? options.port_address->text() : "0.0.0.0"},
                      {"com.docker.network.bridge.name", options.bridge},
                      {"com.docker.network.driver.mtu", fmt::format("{}", default_mtu())}};
    return config;
}

}  // namespace grua::network
