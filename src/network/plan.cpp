#include "network/plan.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <iterator>

namespace grua::network {

using linux::Ip;
using linux::IpPrefix;

namespace {

constexpr std::size_t name_limit = 255;

void check_name(const std::string& name) {
    if (trim(name).empty()) fail(ErrorKind::invalid_argument, "invalid name: name is empty");
    if (name.size() > name_limit || name.contains('\0'))
        fail(ErrorKind::invalid_argument, "invalid name: it is longer than {} bytes", name_limit);
    if (is_predefined(name)) fail(ErrorKind::forbidden, "operation is not permitted on predefined {} network ", name);
}

void check_driver(NetworkConfig& request) {
    if (request.driver.empty() || request.driver == "default") request.driver = "bridge";
    if (request.config_only) request.driver = "null";
    const std::string& driver = request.driver;
    if (driver == "host" || (driver == "null" && !request.config_only))
        fail(ErrorKind::forbidden, "only one instance of \"{}\" network is allowed", driver);
    if (driver == "overlay") fail(ErrorKind::not_implemented, "not implemented: networks of driver overlay");
    if (driver != "bridge" && driver != "macvlan" && driver != "ipvlan" && driver != "null")
        fail(ErrorKind::not_found, "plugin \"{}\" not found", driver);
    if (request.scope == "swarm") fail(ErrorKind::forbidden, "cannot create a swarm scoped network when swarm is not active");
    if (request.ingress) fail(ErrorKind::forbidden, "Ingress network can only be global scope network");
    if (!request.ipam.driver.empty() && request.ipam.driver != "default" && request.ipam.driver != "null")
        fail(ErrorKind::not_found, "plugin \"{}\" not found", request.ipam.driver);
}

/// Docker takes them as options, too.
void choose_families(NetworkConfig& request) {
    for (const auto& [name, member] : {std::pair{"com.docker.network.enable_ipv4", &NetworkConfig::enable_ipv4},
                                       std::pair{"com.docker.network.enable_ipv6", &NetworkConfig::enable_ipv6}}) {
        const auto option = request.options.find(name);
        if (option == request.options.end() || request.*member) continue;
        request.*member = parse_bool(option->second);
        if (!(request.*member)) fail(ErrorKind::invalid_argument, "option {}: invalid value \"{}\"", name, option->second);
    }
    request.enable_ipv4 = request.has_ipv4();
    request.enable_ipv6 = request.has_ipv6();
    if (!request.has_ipv4() && !request.has_ipv6() && !request.config_only)
        fail(ErrorKind::invalid_argument, "IPv4 or IPv6 must be enabled");
}

/// The request with what a configuration-only network says in the places where it says nothing itself.
void apply_config_from(NetworkConfig& request, const NetworkConfig& from) {
    const auto refuse = [&](const char* what) {
        fail(ErrorKind::forbidden, "{} is not supported for networks which depend on a configuration network", what);
    };
    if (!request.ipam.config.empty()) refuse("user-specified configurations");
    if (!request.options.empty()) refuse("network driver options");
    if (request.enable_ipv6.value_or(false)) refuse("IPv6");
    if (request.internal) refuse("internal");
    request.ipam = from.ipam;
    request.enable_ipv4 = from.enable_ipv4;
    request.enable_ipv6 = from.enable_ipv6;
    request.options = from.options;
    request.internal = from.internal;
    for (const auto& [key, value] : from.labels) request.labels.try_emplace(key, value);
}

void take_config_from(NetworkConfig& request, const std::vector<Neighbour>& networks) {
    const std::string& reference = request.config_from.network;
    if (reference.empty()) return;
    const auto from = std::ranges::find_if(networks, [&](const Neighbour& each) {
        return each.config.config_only && (each.config.name == reference || each.config.id == reference);
    });
    if (from == networks.end()) fail(ErrorKind::not_found, "configuration network \"{}\" does not exist", reference);
    apply_config_from(request, from->config);
}

/// Those that are asked for meet neither another network's nor each other. The host's may be met: whoever writes a subnet down means it.
void check_overlaps(const NetworkConfig& request, std::vector<IpPrefix> by_networks) {
    for (const IpamConfig& each : request.ipam.config) {
        const auto subnet = IpPrefix::parse(each.subnet);
        if (!subnet || request.config_only || (subnet->address.is_v6() && !request.has_ipv6())) continue;
        if (std::ranges::any_of(by_networks, [&](const IpPrefix& one) { return one.overlaps(*subnet); }))
            fail(ErrorKind::forbidden, "invalid pool request: Pool overlaps with other one on this address space");
        by_networks.push_back(*subnet);
    }
}

bool has_subnet(const NetworkConfig& config, Ip::Family family) {
    return std::ranges::any_of(config.ipam.config, [&](const IpamConfig& each) {
        const auto subnet = IpPrefix::parse(each.subnet);
        return subnet && subnet->address.family == family;
    });
}

void choose_subnets(NetworkConfig& config, const std::vector<DefaultPool>& pools, const std::vector<IpPrefix>& used) {
    std::erase_if(config.ipam.config, [](const IpamConfig& each) { return each.subnet.empty(); });
    if (config.has_ipv4() && !has_subnet(config, Ip::Family::v4))
        config.ipam.config.push_back({.subnet = choose_subnet(pools.empty() ? network_pools() : pools, Ip::Family::v4, used).text()});
    if (config.has_ipv6() && !has_subnet(config, Ip::Family::v6)) {
        const bool configured = std::ranges::any_of(pools, [](const DefaultPool& each) { return each.base.address.is_v6(); });
        const IpPrefix subnet = configured ? choose_subnet(pools, Ip::Family::v6, used) : choose_unique_local(config.id, used);
        config.ipam.config.push_back({.subnet = subnet.text()});
    }
    // Docker's CLI sends them in no order.
    std::vector<IpamConfig> by_family;
    for (const bool v6 : {false, true})
        std::ranges::copy_if(config.ipam.config, std::back_inserter(by_family),
                             [&](const IpamConfig& each) { return IpPrefix::parse(each.subnet)->address.is_v6() == v6; });
    config.ipam.config = std::move(by_family);
}

/// Pools and gateways of all subnets, with the addresses that nobody is given.
void choose_addresses(NetworkPlan& plan) {
    for (IpamConfig& each : plan.config.ipam.config) {
        const IpPrefix subnet = *IpPrefix::parse(each.subnet);
        const bool v4 = subnet.address.is_v4();
        if (v4 ? !plan.config.has_ipv4() : !plan.config.has_ipv6()) continue;
        AddressPool pool(subnet, each.ip_range.empty() ? std::nullopt : IpPrefix::parse(each.ip_range));
        for (const auto& [name, text] : each.auxiliary_addresses) {
            if (name == (v4 ? router4 : router6)) plan.routers.push_back(*Ip::parse(text));
            if (pool.reserve(*Ip::parse(text)) == AddressPool::Reserved::taken)
                fail(ErrorKind::forbidden, "auxiliary address {} {}: Address already in use", name, text);
        }
        const GatewayMode mode = v4 ? plan.bridge.mode4 : plan.bridge.mode6;
        const bool needs_none = (plan.is_bridge() && mode == GatewayMode::isolated) || (plan.is_child() && plan.child.layer3);
        if (each.gateway.empty() && !needs_none) each.gateway = first_address(subnet).address.text();
        if (!each.gateway.empty()) {
            const IpPrefix gateway{*Ip::parse(each.gateway), subnet.length};
            if (pool.reserve(gateway.address) == AddressPool::Reserved::taken)
                fail(ErrorKind::forbidden, "failed to allocate gateway ({}): Address already in use", each.gateway);
            plan.gateways.insert(
                std::ranges::find_if(plan.gateways, [&](const IpPrefix& one) { return one.address.family > gateway.address.family; }),
                gateway);
        }
        (v4 ? plan.pools4 : plan.pools6).push_back(std::move(pool));
    }
}

void check_bridge_is_free(const NetworkPlan& plan, const std::vector<Neighbour>& networks) {
    if (!plan.is_bridge()) return;
    for (const Neighbour& other : networks) {
        if (other.config.driver == "bridge" && other.link == plan.bridge.link)
            fail(ErrorKind::forbidden, "cannot create network {} ({}): conflicts with network {} ({}): networks have same bridge name",
                 plan.config.id, plan.bridge.link, other.config.id, other.link);
    }
}

}  // namespace

IpPrefix first_address(const IpPrefix& subnet) { return {{subnet.address.family, subnet.subnet().address.value + 1}, subnet.length}; }

std::optional<IpPrefix> NetworkPlan::gateway(Ip::Family family) const {
    const auto found = std::ranges::find_if(gateways, [&](const IpPrefix& each) { return each.address.family == family; });
    return found == gateways.end() ? std::nullopt : std::optional(*found);
}

NetworkPlan complete(NetworkConfig config, const std::vector<DefaultPool>& pools, std::vector<IpPrefix> used, unsigned default_mtu) {
    NetworkPlan plan{.config = std::move(config)};
    if (plan.is_bridge()) plan.bridge = bridge_settings(plan.config);
    if (plan.is_child()) plan.child = child_settings(plan.config);
    choose_subnets(plan.config, pools, used);
    choose_addresses(plan);
    const unsigned asked = plan.is_bridge() ? plan.bridge.mtu : plan.child.mtu;
    plan.mtu = asked != 0 || plan.is_child() ? asked : default_mtu;
    if (plan.is_bridge()) {
        plan.elements = network_elements({.link = plan.bridge.link,
                                          .internal = plan.config.internal,
                                          .ipv4 = plan.config.has_ipv4(),
                                          .ipv6 = plan.config.has_ipv6(),
                                          .settings = plan.bridge});
    }
    return plan;
}

NetworkPlan plan_network(NetworkConfig request, const Surroundings& around, std::string id, std::string created) {
    check_name(request.name);
    check_driver(request);
    if (const auto more = around.network_options.find(request.driver);
        more != around.network_options.end() && !request.config_only && request.config_from.network.empty())
        request.options.insert(more->second.begin(), more->second.end());
    choose_families(request);
    request.id = std::move(id);
    request.created = std::move(created);
    request.scope = "local";
    if (request.ipam.driver.empty()) request.ipam.driver = "default";
    check_ipam(request.ipam.config, request.has_ipv6());

    std::vector<IpPrefix> by_networks;
    for (const Neighbour& each : around.networks) {
        if (each.config.name == request.name) fail(ErrorKind::conflict, "network with name {} already exists", request.name);
        by_networks.insert(by_networks.end(), each.subnets.begin(), each.subnets.end());
    }
    take_config_from(request, around.networks);
    check_overlaps(request, by_networks);
    if (request.config_only) return {.config = std::move(request)};

    std::vector<IpPrefix> used = around.by_host;
    used.insert(used.end(), by_networks.begin(), by_networks.end());
    NetworkPlan plan = complete(std::move(request), around.pools, std::move(used), around.mtu);
    check_bridge_is_free(plan, around.networks);
    return plan;
}

}  // namespace grua::network
