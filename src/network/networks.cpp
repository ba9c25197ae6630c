#include "network/networks.hpp"

#include "base/error.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "network/container_files.hpp"
#include "network/networks_impl.hpp"
#include "store/database.hpp"

#include <sys/eventfd.h>
#include <algorithm>
#include <array>
#include <iterator>
#include <ranges>

namespace grua::network {

using linux::Ip;
using linux::IpPrefix;

namespace {

constexpr std::array migrations{"CREATE TABLE networks (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, document TEXT NOT NULL)"};
constexpr std::size_t name_limit = 255;
std::string owner_prefix(const std::string& bridge) { return "grua:" + bridge + ":"; }

void check_name(const std::string& name) {
    if (trim(name).empty()) fail(ErrorKind::invalid_argument, "invalid name: name is empty");
    if (name.size() > name_limit || name.contains('\0'))
        fail(ErrorKind::invalid_argument, "invalid name: it is longer than {} bytes", name_limit);
    if (is_predefined(name)) fail(ErrorKind::forbidden, "operation is not permitted on predefined {} network ", name);
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

}  // namespace

HostDns parse_host_dns(std::string_view text) {
    HostDns out;
    const auto colon = text.find(':');
    const auto ip = Ip::parse(text.substr(0, colon));
    const auto port = colon == std::string_view::npos ? std::optional<std::uint64_t>(out.port) : parse_uint(text.substr(colon + 1));
    if (!ip || ip->is_v6() || ip->is_unspecified() || !port || *port == 0 || *port > 65535)
        fail(ErrorKind::invalid_argument, "host-dns \"{}\": an IPv4 address and a port, as 127.0.0.153:53", text);
    out.ip = *ip;
    out.port = static_cast<std::uint16_t>(*port);
    return out;
}

std::optional<PublishPolicy> parse_publish_policy(std::string_view text) noexcept {
    if (text == "docker") return PublishPolicy::docker;
    if (text == "host-input") return PublishPolicy::host_input;
    return std::nullopt;
}

std::optional<IpPrefix> Net::gateway(Ip::Family family) const {
    const auto found = std::ranges::find_if(gateways, [&](const IpPrefix& each) { return each.address.family == family; });
    return found == gateways.end() ? std::nullopt : std::optional(*found);
}

Elements Net::elements_of(const Joined& on_it) const {
    const auto mac = linux::Mac::parse(on_it.endpoint.mac);
    if (on_it.link.empty() || !mac) return {};
    EndpointRules rules{.link = on_it.link, .mac = *mac, .allow_spoofing = bridge.allow_spoofing, .closed = !bridge.icc};
    for (const std::string* text : {&on_it.endpoint.ip, &on_it.endpoint.ipv6})
        if (const auto address = Ip::parse(*text)) rules.addresses.push_back(*address);
    rules.addresses.insert(rules.addresses.end(), on_it.link_local.begin(), on_it.link_local.end());
    if (bridge.limits.any()) rules.share = on_it.share;
    return endpoint_elements(rules);
}

Identity identity_of(const SandboxRequest& request) {
    return {.name = request.name,
            .nameservers = request.nameservers,
            .publish_policy = request.publish_policy,
            .port_policies = request.port_policies,
            .labels = request.labels,
            .limits = request.limits,
            .policy = request.policy,
            .exposed = request.exposed,
            .links = request.links};
}

RuleChange change_between(Elements before, Elements after) {
    std::ranges::sort(before);
    std::ranges::sort(after);
    RuleChange out;
    std::ranges::set_difference(before, after, std::back_inserter(out.removed));
    std::ranges::set_difference(after, before, std::back_inserter(out.added));
    return out;
}

std::string Networks::State::alias_of(const Net& net) const {
    // The default bridge keeps its name from one data root to the next.
    return net.config.name == "bridge" ? "grua:" + options.bridge : alias_prefix + "network:" + net.config.id;
}

unsigned Networks::State::default_mtu() {
    if (options.mtu != 0) return options.mtu;
    const std::lock_guard lock(netlink_mutex);
    return find_uplink(netlink).mtu;
}

/// With `mutex` held, or in the constructor.
std::vector<IpPrefix> Networks::State::used_prefixes(const std::vector<IpPrefix>& by_host) const {
    std::vector<IpPrefix> out = by_host;
    for (const Net& net : std::views::values(nets)) {
        for (const auto* pools : {&net.pools4, &net.pools6})
            for (const AddressPool& each : *pools) out.push_back(each.subnet());
    }
    return out;
}

/// Subnets where none were asked for, pools and gateways for all.
void Networks::State::choose_addresses(Net& net, const std::vector<IpPrefix>& used) {
    NetworkConfig& config = net.config;
    std::vector<IpPrefix> taken = used;
    const auto needs = [&](Ip::Family family) {
        return std::ranges::none_of(config.ipam.config, [&](const IpamConfig& each) {
            const auto subnet = IpPrefix::parse(each.subnet);
            return subnet && subnet->address.family == family;
        });
    };
    std::erase_if(config.ipam.config, [](const IpamConfig& each) { return each.subnet.empty(); });
    if (config.has_ipv4() && needs(Ip::Family::v4)) {
        const auto& pools = options.pools.empty() ? network_pools() : options.pools;
        config.ipam.config.push_back({.subnet = choose_subnet(pools, Ip::Family::v4, taken).text()});
    }
    if (config.has_ipv6() && needs(Ip::Family::v6)) {
        const bool configured = std::ranges::any_of(options.pools, [](const DefaultPool& each) { return each.base.address.is_v6(); });
        const IpPrefix subnet = configured ? choose_subnet(options.pools, Ip::Family::v6, taken) : choose_unique_local(config.id, taken);
        config.ipam.config.push_back({.subnet = subnet.text()});
    }
    // Docker's CLI sends them in no order.
    std::vector<IpamConfig> by_family;
    for (const bool v6 : {false, true})
        std::ranges::copy_if(config.ipam.config, std::back_inserter(by_family),
                             [&](const IpamConfig& each) { return IpPrefix::parse(each.subnet)->address.is_v6() == v6; });
    config.ipam.config = std::move(by_family);
    for (IpamConfig& each : config.ipam.config) {
        const IpPrefix subnet = *IpPrefix::parse(each.subnet);
        const bool v4 = subnet.address.is_v4();
        if (v4 ? !config.has_ipv4() : !config.has_ipv6()) continue;
        AddressPool pool(subnet, each.ip_range.empty() ? std::nullopt : IpPrefix::parse(each.ip_range));
        for (const auto& [name, text] : each.auxiliary_addresses) {
            if (name == (v4 ? router4 : router6)) net.routers.push_back(*Ip::parse(text));
            if (pool.reserve(*Ip::parse(text)) == AddressPool::Reserved::taken)
                fail(ErrorKind::forbidden, "auxiliary address {} {}: Address already in use", name, text);
        }
        const GatewayMode mode = v4 ? net.bridge.mode4 : net.bridge.mode6;
        const bool needs_none = (net.is_bridge() && mode == GatewayMode::isolated) || (net.is_child() && net.child.layer3);
        if (each.gateway.empty() && !needs_none) each.gateway = first_address(subnet).address.text();
        if (!each.gateway.empty()) {
            const IpPrefix gateway{*Ip::parse(each.gateway), subnet.length};
            if (pool.reserve(gateway.address) == AddressPool::Reserved::taken)
                fail(ErrorKind::forbidden, "failed to allocate gateway ({}): Address already in use", each.gateway);
            net.gateways.insert(
                std::ranges::find_if(net.gateways, [&](const IpPrefix& one) { return one.address.family > gateway.address.family; }),
                gateway);
        }
        (v4 ? net.pools4 : net.pools6).push_back(std::move(pool));
    }
}

void Networks::State::make_link(Net& net, const Present& present) {
    if (net.is_bridge()) {
        BridgeRequest request{.name = net.bridge.link, .alias = alias_of(net), .mtu = net.mtu};
        request.ipv6 = net.config.has_ipv6();
        request.route_localnet = net.config.has_ipv4() && !net.config.internal;
        for (const IpPrefix& each : net.gateways) {
            const bool v4 = each.address.is_v4();
            if ((v4 ? net.bridge.mode4 : net.bridge.mode6) == GatewayMode::isolated || (v4 && net.bridge.inhibit_ipv4)) continue;
            request.addresses.push_back(each);
        }
        if (options.ip_forward && !net.config.internal) {
            if (net.config.has_ipv4()) ensure_forwarding(Ip::Family::v4);
            if (net.config.has_ipv6()) ensure_forwarding(Ip::Family::v6);
        }
        const std::lock_guard lock(netlink_mutex);
        const Bridge made = ensure_bridge(netlink, present, request);
        net.index = made.index;
        net.ours = made.ours;
        return;
    }
    if (!net.is_child()) return;
    const std::lock_guard lock(netlink_mutex);
    std::string name = net.child.parent;
    const auto existing = name.empty() ? std::nullopt : netlink.link(name);
    if (existing) {
        net.index = existing->index;
        net.ours = existing->alias == alias_of(net);
        return;
    }
    linux::NetlinkBatch make;
    const auto dot = name.rfind('.');
    if (name.empty()) {
        name = net.child.parent = "dm-" + net.config.id.substr(0, 12);
        if (const auto dummy = netlink.link(name)) {
            net.index = dummy->index;
            return;
        }
        make.create_link(name, "dummy");
    } else {
        const auto vlan = dot == std::string::npos ? std::nullopt : parse_uint(name.substr(dot + 1));
        const auto parent = dot == std::string::npos ? std::nullopt : netlink.link(name.substr(0, dot));
        if (!vlan || *vlan == 0 || *vlan > 4094 || !parent)
            fail(ErrorKind::invalid_argument, "invalid subinterface vlan name {}, example formatting is eth0.10", name);
        make.create_vlan(name, parent->index, static_cast<std::uint16_t>(*vlan));
    }
    make.change_link(name, {.up = true, .alias = alias_of(net)});
    netlink.run(make);
    const auto made = netlink.link(name);
    if (!made) fail(ErrorKind::system, "link {} vanished", name);
    net.index = made->index;
}

/// Checks the request and chooses what it leaves open; nothing is made yet.
Net Networks::State::make_net(NetworkConfig config, const std::vector<IpPrefix>& used) {
    Net net{.config = std::move(config)};
    if (net.is_bridge()) net.bridge = bridge_settings(net.config);
    if (net.is_child()) net.child = child_settings(net.config);
    choose_addresses(net, used);
    const unsigned asked = net.is_bridge() ? net.bridge.mtu : net.child.mtu;
    net.mtu = asked != 0 || net.is_child() ? asked : default_mtu();
    net.elements = elements_of(net);
    return net;
}

Elements Networks::State::elements_of(const Net& net) const {
    if (!net.is_bridge()) return {};
    return network_elements({.link = net.bridge.link,
                             .internal = net.config.internal,
                             .ipv4 = net.config.has_ipv4(),
                             .ipv6 = net.config.has_ipv6(),
                             .settings = net.bridge});
}

void Networks::State::save(const NetworkConfig& config) {
    database.execute("INSERT OR REPLACE INTO networks (id, name, document) VALUES (?, ?, ?)",
                     {config.id, config.name, json::dump(config, {})});
}

/// The predefined networks and the stored ones. One that cannot be made again is kept, so that it can be seen and removed.
void Networks::State::load() {
    const Present present = look(netlink);
    const std::vector<IpPrefix> by_host = used_by_host(netlink, present, "grua:" + options.bridge);

    std::vector<NetworkConfig> stored;
    for (const store::Row& row : database.query("SELECT document FROM networks")) {
        try {
            stored.push_back(json::parse<NetworkConfig>(row.text(0)));
        } catch (const Error& error) {
            log::error("a stored network: {}", error.what());
        }
    }
    // Those of the user first: the default bridge goes out of their way.
    for (NetworkConfig& config : stored) {
        if (is_predefined(config.name)) continue;
        const std::string name = config.name;
        const std::string id = config.id;
        try {
            Net net = config.config_only ? Net{.config = std::move(config)} : make_net(std::move(config), {});
            make_link(net, present);
            note_policy(id, net.bridge.policy.has_value());
            nets.emplace(id, std::move(net));
        } catch (const Error& error) {
            log::error("network {}: {}", name, error.what());
            for (const store::Row& row : database.query("SELECT document FROM networks WHERE id = ?", {id}))
                nets.emplace(id, Net{.config = json::parse<NetworkConfig>(row.text(0))});
        }
    }
    while_doing("default bridge", [&] {
        check_bridge_name(options.bridge);
        if (const linux::Link* link = present.find(options.bridge); link && link->kind != "bridge")
            fail(ErrorKind::conflict, "link {} exists and is not a bridge", options.bridge);
        Net net = make_net(default_bridge(used_prefixes(by_host), present), {});
        if (const linux::Link* link = present.find(options.bridge); link && link->alias != alias_of(net) && options.mtu == 0) {
            net.mtu = link->mtu;
            net.config.options["com.docker.network.driver.mtu"] = fmt::format("{}", net.mtu);
        }
        make_link(net, present);
        save(net.config);
        nets.emplace(net.config.id, std::move(net));
    });
    for (const auto& [name, driver] : {std::pair{"host", "host"}, std::pair{"none", "null"}}) {
        const auto known = std::ranges::find(stored, name, &NetworkConfig::name);
        NetworkConfig config{.name = name, .scope = "local", .driver = driver};
        config.id = known == stored.end() ? random_id() : known->id;
        config.created = known == stored.end() ? format_time(now()) : known->created;
        config.enable_ipv4 = true;
        config.enable_ipv6 = false;
        config.ipam.driver = "default";
        if (known == stored.end()) save(config);
        nets[config.id].config = config;
    }
}

Networks::State::State(Options given, store::Database& store)
    : options(std::move(given)),
      database(store),
      alias_prefix(owner_prefix(options.bridge)),
      firewall(table_name(options.bridge)),
      resolver({.host_resolv_conf = host_resolv_conf, .watched = {resolv_conf_path, resolved_conf_path}}),
      wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!wake) fail_errno("eventfd");
    database.migrate("network", migrations);
    load();
    if (options.host_dns) while_doing("host-dns", [&] { resolver.serve_host(options.host_dns->ip, options.host_dns->port); });
    sandboxes = std::make_unique<SandboxPool>(
        SandboxPoolOptions{.ready = options.ready_sandboxes, .most = options.most_ready_sandboxes, .mtu = find_net("bridge").mtu});
    watcher = std::jthread([this](const std::stop_token& stop) { watch(stop); });
}

Networks::State::~State() { end_watch(); }

/// With `mutex` held.
Net& Networks::State::find_net(std::string_view reference) {
    std::vector<Net*> by_prefix;
    for (Net& net : std::views::values(nets)) {
        if (net.config.name == reference || net.config.id == reference) return net;
        if (!reference.empty() && net.config.id.starts_with(reference)) by_prefix.push_back(&net);
    }
    if (by_prefix.empty()) fail(ErrorKind::not_found, "network {} not found", reference);
    if (by_prefix.size() > 1) {
        fail(ErrorKind::invalid_argument, "network {} is ambiguous ({} matches found based on ID prefix)", reference, by_prefix.size());
    }
    return *by_prefix.front();
}

Network Networks::State::described(const Net& net) const {
    Network out{net.config, {}};
    for (const auto& [container_id, joined] : net.joined) out.containers.emplace(container_id, joined.endpoint);
    return out;
}

Networks::Networks(Options options, store::Database& database) : state_(std::make_unique<State>(std::move(options), database)) {}
Networks::~Networks() = default;

Network Networks::create(NetworkConfig request) {
    State& state = *state_;
    check_name(request.name);
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
    if (const auto more = state.options.network_options.find(driver);
        more != state.options.network_options.end() && !request.config_only && request.config_from.network.empty())
        request.options.insert(more->second.begin(), more->second.end());
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
    request.id = random_id();
    request.created = format_time(now());
    request.scope = "local";
    if (request.ipam.driver.empty()) request.ipam.driver = "default";
    check_ipam(request.ipam.config, request.has_ipv6());

    const std::lock_guard admin(state.admin);
    const Present present = [&] {
        const std::lock_guard lock(state.netlink_mutex);
        return look(state.netlink);
    }();
    const std::vector<IpPrefix> by_host = [&] {
        const std::lock_guard lock(state.netlink_mutex);
        return used_by_host(state.netlink, present, "grua:" + state.options.bridge);
    }();
    std::vector<IpPrefix> by_networks;
    std::vector<IpPrefix> used;
    {
        const std::lock_guard lock(state.mutex);
        for (const Net& net : std::views::values(state.nets)) {
            if (net.config.name == request.name) fail(ErrorKind::conflict, "network with name {} already exists", request.name);
        }
        if (!request.config_from.network.empty()) {
            const auto from = std::ranges::find_if(state.nets, [&](const auto& each) {
                return each.second.config.config_only &&
                       (each.second.config.name == request.config_from.network || each.first == request.config_from.network);
            });
            if (from == state.nets.end())
                fail(ErrorKind::not_found, "configuration network \"{}\" does not exist", request.config_from.network);
            apply_config_from(request, from->second.config);
        }
        by_networks = state.used_prefixes({});
        used = state.used_prefixes(by_host);
    }
    for (const IpamConfig& each : request.ipam.config) {
        const auto subnet = IpPrefix::parse(each.subnet);
        if (!subnet || request.config_only || (subnet->address.is_v6() && !request.has_ipv6())) continue;
        if (std::ranges::any_of(by_networks, [&](const IpPrefix& one) { return one.overlaps(*subnet); }))
            fail(ErrorKind::forbidden, "invalid pool request: Pool overlaps with other one on this address space");
        by_networks.push_back(*subnet);
    }
    Net net = request.config_only ? Net{.config = std::move(request)} : state.make_net(std::move(request), used);
    if (net.is_bridge()) {
        const std::lock_guard lock(state.mutex);
        for (const Net& other : std::views::values(state.nets)) {
            if (other.is_bridge() && other.bridge.link == net.bridge.link)
                fail(ErrorKind::forbidden, "cannot create network {} ({}): conflicts with network {} ({}): networks have same bridge name",
                     net.config.id, net.bridge.link, other.config.id, other.bridge.link);
        }
    }
    const auto remove_link = [&] {
        const std::string& link = net.is_bridge() ? net.bridge.link : net.child.parent;
        if (net.config.config_only || !net.ours || link.empty() || present.find(link)) return;
        linux::NetlinkBatch remove;
        remove.delete_link(link);
        const std::lock_guard lock(state.netlink_mutex);
        state.netlink.run(remove);
    };
    try {
        state.make_link(net, present);
        state.firewall.change({}, net.elements, "network " + net.config.name);
        state.save(net.config);
    } catch (...) {
        try {
            state.firewall.change(net.elements, {}, "network " + net.config.name);
            remove_link();
        } catch (const Error& error) {
            log::warn("network {}: {}", net.config.name, error.what());
        }
        throw;
    }
    const std::string id = net.config.id;
    const bool limited = net.bridge.limits.any();
    {
        const std::lock_guard lock(state.mutex);
        state.note_policy(id, net.bridge.policy.has_value());
        state.nets.emplace(id, std::move(net));
    }
    if (limited) state.limit_network(id);
    Network made = find(id);
    state.refresh_policies_about(made);
    return made;
}

void Networks::remove(std::string_view reference) {
    State& state = *state_;
    const std::lock_guard admin(state.admin);
    std::map<std::string, Net>::node_type taken;
    {
        const std::lock_guard lock(state.mutex);
        Net& net = state.find_net(reference);
        if (is_predefined(net.config.name))
            fail(ErrorKind::forbidden, "{} is a pre-defined network and cannot be removed", net.config.name);
        if (!net.joined.empty()) {
            std::vector<std::string> names;
            for (const auto& [container_id, joined] : net.joined) {
                const auto identity = state.identities.find(container_id);
                names.push_back(fmt::format("name:\"{}\" id:\"{}\"",
                                            identity == state.identities.end() ? container_id : identity->second.name,
                                            joined.endpoint.endpoint_id.substr(0, 12)));
            }
            fail(ErrorKind::forbidden, "error while removing network: network {} has active endpoints ({})", net.config.name,
                 join(names, ", "));
        }
        for (const Net& other : std::views::values(state.nets)) {
            if (net.config.config_only && other.config.config_from.network == net.config.name)
                fail(ErrorKind::forbidden, "error while removing network: configuration network \"{}\" is in use", net.config.name);
        }
        taken = state.nets.extract(net.config.id);
        state.note_policy(taken.key(), false);
    }
    const Net& net = taken.mapped();
    const std::string& link = net.is_bridge() ? net.bridge.link : net.child.parent;
    try {
        state.database.execute("DELETE FROM networks WHERE id = ?", {net.config.id});
    } catch (...) {
        const std::lock_guard lock(state.mutex);
        state.note_policy(taken.key(), net.bridge.policy.has_value());
        state.nets.insert(std::move(taken));
        throw;
    }
    state.firewall.change(net.elements, {}, "network " + net.config.name);
    state.refresh_policies_about(net.config);
    if (net.is_bridge() && !net.ours) state.sandboxes->leave(net.index);
    linux::NetlinkBatch remove;
    if (net.ours && !link.empty()) remove.delete_link(link);
    if (!net.ours && net.bridge.limits.in.bits != 0) remove.remove_queue(net.index);
    if (!net.ours && net.bridge.limits.out.bits != 0) remove.remove_redirect(net.index);
    if (net.bridge.limits.out.bits != 0) remove.delete_link(ifb_of_network(net.config.id));
    const std::lock_guard lock(state.netlink_mutex);
    try {
        state.netlink.run(remove);
    } catch (const Error& error) {
        if (error.os_error() != ENODEV) log::warn("network {}: {}", net.config.name, error.what());
    }
}

std::vector<Network> Networks::list() const {
    const std::lock_guard lock(state_->mutex);
    std::vector<Network> out;
    for (const Net& net : std::views::values(state_->nets)) out.push_back(state_->described(net));
    return out;
}

Network Networks::find(std::string_view reference) const {
    const std::lock_guard lock(state_->mutex);
    return state_->described(state_->find_net(reference));
}

NetworkConfig Networks::find_config(std::string_view reference) const {
    const std::lock_guard lock(state_->mutex);
    return state_->find_net(reference).config;
}

std::string Networks::gateway() const {
    const std::lock_guard lock(state_->mutex);
    return state_->find_net("bridge").gateways.front().address.text();
}

void Networks::recover(std::vector<Attachment> live) { state_->recover(std::move(live)); }

Sandbox Networks::attach(const SandboxRequest& request) {
    return while_doing("failed to set up container networking", [&] { return state_->attach(request); });
}

Endpoint Networks::connect(const std::string& container_id, int netns, const EndpointRequest& request) {
    return state_->connect(container_id, netns, request);
}

void Networks::disconnect(const std::string& container_id, int netns, std::string_view network) {
    state_->disconnect(container_id, netns, network);
}

void Networks::release(const std::string& container_id) { state_->release(container_id); }

std::vector<Endpoint> Networks::endpoints(const std::string& container_id) const {
    const std::lock_guard lock(state_->mutex);
    std::vector<Endpoint> out;
    for (const Net& net : std::views::values(state_->nets)) {
        if (const auto found = net.joined.find(container_id); found != net.joined.end()) out.push_back(found->second.endpoint);
    }
    return out;
}

void Networks::remove_all() {
    State& state = *state_;
    {
        const std::lock_guard lock(state.mutex);
        for (const Net& net : std::views::values(state.nets))
            if (!net.joined.empty()) fail(ErrorKind::conflict, "network {} has active endpoints", net.config.name);
    }
    state.reap(Clock::time_point::max());
    // The watcher must not put back what is taken away here.
    state.end_watch();
    state.firewall.remove_tables();
    linux::NetlinkBatch remove;
    for (const Net& net : std::views::values(state.nets)) {
        const std::string& link = net.is_bridge() ? net.bridge.link : net.child.parent;
        if (net.ours && net.index != 0 && !link.empty()) remove.delete_link(link);
        if (net.bridge.limits.out.bits != 0) remove.delete_link(ifb_of_network(net.config.id));
    }
    const std::lock_guard lock(state.netlink_mutex);
    const std::string loop = loop_name(state.options.bridge);
    if (state.netlink.link(loop)) {
        remove.delete_link(loop);
        remove.remove_rule_for_mark(Ip::Family::v6, loop_mark, loop_route_table);
    }
    state.netlink.run(remove);
}

}  // namespace grua::network
