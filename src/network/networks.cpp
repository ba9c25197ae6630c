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
std::string owner_prefix(const std::string& bridge) { return "grua:" + bridge + ":"; }

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
    const MutexLock lock(netlink_mutex);
    return find_uplink(netlink).mtu;
}

/// What all networks have, and the host.
std::vector<IpPrefix> Networks::State::used_prefixes(const std::vector<IpPrefix>& by_host) const {
    std::vector<IpPrefix> out = by_host;
    for (const Net& net : std::views::values(nets)) {
        for (const auto* pools : {&net.pools4, &net.pools6})
            for (const AddressPool& each : *pools) out.push_back(each.subnet());
    }
    return out;
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
        const MutexLock lock(netlink_mutex);
        const Bridge made = ensure_bridge(netlink, present, request);
        net.index = made.index;
        net.ours = made.ours;
        return;
    }
    if (!net.is_child()) return;
    const MutexLock lock(netlink_mutex);
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

void Networks::State::save(const NetworkConfig& config) {
    // A start that finds nothing changed writes nothing: it may be the one on a full disk.
    const auto stored = database.query("SELECT document FROM networks WHERE id = ? AND name = ?", {config.id, config.name});
    if (!stored.empty() && stored.front().text(0) == json::dump(config, {})) return;
    database.execute("INSERT OR REPLACE INTO networks (id, name, document) VALUES (?, ?, ?)",
                     {config.id, config.name, json::dump(config, {})});
}

/// The predefined networks and the stored ones. One that cannot be made again is kept, so that it can be seen and removed.
void Networks::State::load() {
    const Present present = look(netlink);
    const std::vector<IpPrefix> by_host = used_by_host(netlink, present, "grua:" + options.bridge);
    const unsigned mtu = default_mtu();

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
            Net net(config.config_only ? NetworkPlan{.config = std::move(config)} : complete(std::move(config), options.pools, {}, mtu));
            make_link(net, present);
            note_policy(id, net.bridge.policy.has_value());
            nets.emplace(id, std::move(net));
        } catch (const Error& error) {
            log::error("network {}: {}", name, error.what());
            for (const store::Row& row : database.query("SELECT document FROM networks WHERE id = ?", {id}))
                nets.emplace(id, Net(NetworkPlan{.config = json::parse<NetworkConfig>(row.text(0))}));
        }
    }
    const auto make_default_bridge = [&]() GRUA_NOT_ANALYSED {
        check_bridge_name(options.bridge);
        if (const linux::Link* link = present.find(options.bridge); link && link->kind != "bridge")
            fail(ErrorKind::conflict, "link {} exists and is not a bridge", options.bridge);
        Net net(complete(default_bridge(used_prefixes(by_host), present), options.pools, {}, mtu));
        if (const linux::Link* link = present.find(options.bridge); link && link->alias != alias_of(net) && options.mtu == 0) {
            net.mtu = link->mtu;
            net.config.options["com.docker.network.driver.mtu"] = fmt::format("{}", net.mtu);
        }
        make_link(net, present);
        save(net.config);
        nets.emplace(net.config.id, std::move(net));
    };
    if (options.default_bridge) {
        while_doing("default bridge", make_default_bridge);
    } else if (const linux::Link* link = present.find(options.bridge); link && link->alias == "grua:" + options.bridge) {
        // That of before. One that was adopted is somebody else's.
        const MutexLock lock(netlink_mutex);
        linux::NetlinkBatch remove;
        remove.delete_link(options.bridge);
        netlink.run(remove);
    }
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
    sandboxes = std::make_unique<SandboxPool>(SandboxPoolOptions{.ready = options.ready_sandboxes,
                                                                 .most = options.most_ready_sandboxes,
                                                                 .mtu = options.default_bridge ? find_net("bridge").mtu : default_mtu()});
    watcher = std::jthread([this](const std::stop_token& stop) { watch(stop); });
}

Networks::State::~State() { end_watch(); }

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

/// What a new network has to fit into. `present` is of the same moment.
Surroundings Networks::State::surroundings(const Present& present) {
    Surroundings out{
        .by_host = {}, .networks = {}, .pools = options.pools, .network_options = options.network_options, .mtu = default_mtu()};
    {
        const MutexLock lock(netlink_mutex);
        out.by_host = used_by_host(netlink, present, "grua:" + options.bridge);
    }
    const MutexLock lock(mutex);
    for (const Net& net : std::views::values(nets)) {
        Neighbour& each = out.networks.emplace_back(net.config, net.bridge.link);
        for (const auto* pools : {&net.pools4, &net.pools6})
            for (const AddressPool& pool : *pools) each.subnets.push_back(pool.subnet());
    }
    return out;
}

/// The link, the rules and the row of a planned network, or nothing of them.
void Networks::State::make(Net& net, const Present& present) {
    const std::string doing = "network " + net.config.name;
    const auto remove_link = [&] {
        const std::string& link = net.is_bridge() ? net.bridge.link : net.child.parent;
        if (net.config.config_only || !net.ours || link.empty() || present.find(link)) return;
        linux::NetlinkBatch remove;
        remove.delete_link(link);
        const MutexLock lock(netlink_mutex);
        netlink.run(remove);
    };
    const auto try_to = [&](const auto& undo) {
        try {
            undo();
        } catch (const Error& error) {
            log::warn("{}: {}", doing, error.what());
        }
    };
    try {
        make_link(net, present);
        firewall.change({}, net.elements, doing);
        save(net.config);
    } catch (...) {
        try_to([&] { firewall.change(net.elements, {}, doing); });
        try_to(remove_link);
        throw;
    }
}

Network Networks::create(NetworkConfig request) {
    State& state = *state_;
    const MutexLock admin(state.admin);
    const Present present = [&] {
        const MutexLock lock(state.netlink_mutex);
        return look(state.netlink);
    }();
    Net net(plan_network(std::move(request), state.surroundings(present), random_id(), format_time(now())));
    state.make(net, present);
    const std::string id = net.config.id;
    const bool limited = net.bridge.limits.any();
    {
        const MutexLock lock(state.mutex);
        state.note_policy(id, net.bridge.policy.has_value());
        state.nets.emplace(id, std::move(net));
    }
    try {
        if (limited) state.limit_network(id);
        Network made = find(id);
        state.refresh_policies_about(made);
        return made;
    } catch (...) {
        try {
            state.take_away(id);
        } catch (const Error& error) {
            log::error("network {}: {}", id.substr(0, 12), error.what());
        }
        throw;
    }
}

void Networks::remove(std::string_view reference) {
    const MutexLock admin(state_->admin);
    state_->take_away(reference);
}

void Networks::State::take_away(std::string_view reference) {
    std::map<std::string, Net>::node_type taken;
    {
        const MutexLock lock(mutex);
        Net& net = find_net(reference);
        if (is_predefined(net.config.name))
            fail(ErrorKind::forbidden, "{} is a pre-defined network and cannot be removed", net.config.name);
        if (!net.joined.empty()) {
            std::vector<std::string> names;
            for (const auto& [container_id, joined] : net.joined) {
                const auto identity = identities.find(container_id);
                names.push_back(fmt::format("name:\"{}\" id:\"{}\"", identity == identities.end() ? container_id : identity->second.name,
                                            joined.endpoint.endpoint_id.substr(0, 12)));
            }
            fail(ErrorKind::forbidden, "error while removing network: network {} has active endpoints ({})", net.config.name,
                 join(names, ", "));
        }
        for (const Net& other : std::views::values(nets)) {
            if (net.config.config_only && other.config.config_from.network == net.config.name)
                fail(ErrorKind::forbidden, "error while removing network: configuration network \"{}\" is in use", net.config.name);
        }
        taken = nets.extract(net.config.id);
        note_policy(taken.key(), false);
    }
    const Net& net = taken.mapped();
    const std::string& link = net.is_bridge() ? net.bridge.link : net.child.parent;
    try {
        database.execute("DELETE FROM networks WHERE id = ?", {net.config.id});
    } catch (...) {
        const MutexLock lock(mutex);
        note_policy(taken.key(), net.bridge.policy.has_value());
        nets.insert(std::move(taken));
        throw;
    }
    // The row is gone, so the network is: what cannot be taken away now is swept by the next gruad, and holds up nothing else.
    const auto try_to = [&](const auto& take) {
        try {
            take();
        } catch (const Error& error) {
            if (error.os_error() != ENODEV) log::warn("network {}: {}", net.config.name, error.what());
        }
    };
    try_to([&] { firewall.change(net.elements, {}, "network " + net.config.name); });
    try_to([&] { refresh_policies_about(net.config); });
    if (net.is_bridge() && !net.ours) try_to([&] { sandboxes->leave(net.index); });
    linux::NetlinkBatch remove;
    if (net.ours && !link.empty()) remove.delete_link(link);
    if (!net.ours && net.bridge.limits.in.bits != 0) remove.remove_queue(net.index);
    if (!net.ours && net.bridge.limits.out.bits != 0) remove.remove_redirect(net.index);
    if (net.bridge.limits.out.bits != 0) remove.delete_link(ifb_of_network(net.config.id));
    try_to([&] {
        const MutexLock lock(netlink_mutex);
        netlink.run(remove);
    });
}

std::vector<Network> Networks::list() const {
    const MutexLock lock(state_->mutex);
    std::vector<Network> out;
    for (const Net& net : std::views::values(state_->nets)) out.push_back(state_->described(net));
    return out;
}

std::vector<NetworkConfig> Networks::configs() const {
    const MutexLock lock(state_->mutex);
    std::vector<NetworkConfig> out;
    for (const Net& net : std::views::values(state_->nets)) out.push_back(net.config);
    return out;
}

Network Networks::find(std::string_view reference) const {
    const MutexLock lock(state_->mutex);
    return state_->described(state_->find_net(reference));
}

NetworkConfig Networks::find_config(std::string_view reference) const {
    const MutexLock lock(state_->mutex);
    return state_->find_net(reference).config;
}

std::string Networks::gateway() const {
    const MutexLock lock(state_->mutex);
    return state_->options.default_bridge ? state_->find_net("bridge").gateways.front().address.text() : std::string();
}

void Networks::recover(std::vector<Attachment> live) { state_->recover(std::move(live)); }

Sandbox Networks::attach(const SandboxRequest& request) {
    return while_doing("failed to set up container networking", [&] { return state_->attach(request); });
}

ResolverSockets Networks::resolver_sockets(const std::string& container_id) const { return state_->resolver.sockets(container_id); }

Endpoint Networks::connect(const std::string& container_id, int netns, const EndpointRequest& request) {
    return state_->connect(container_id, netns, request);
}

void Networks::disconnect(const std::string& container_id, int netns, std::string_view network) {
    state_->disconnect(container_id, netns, network);
}

void Networks::release(const std::string& container_id) { state_->release(container_id); }

std::vector<Endpoint> Networks::endpoints(const std::string& container_id) const {
    const MutexLock lock(state_->mutex);
    std::vector<Endpoint> out;
    for (const Net& net : std::views::values(state_->nets)) {
        if (const auto found = net.joined.find(container_id); found != net.joined.end()) out.push_back(found->second.endpoint);
    }
    return out;
}

void Networks::remove_all() {
    State& state = *state_;
    {
        const MutexLock lock(state.mutex);
        for (const Net& net : std::views::values(state.nets))
            if (!net.joined.empty()) fail(ErrorKind::conflict, "network {} has active endpoints", net.config.name);
    }
    state.reap(Clock::time_point::max());
    // The watcher must not put back what is taken away here.
    state.end_watch();
    state.firewall.remove_tables();
    linux::NetlinkBatch remove;
    const MutexLock looking(state.mutex);
    for (const Net& net : std::views::values(state.nets)) {
        const std::string& link = net.is_bridge() ? net.bridge.link : net.child.parent;
        if (net.ours && net.index != 0 && !link.empty()) remove.delete_link(link);
        if (net.bridge.limits.out.bits != 0) remove.delete_link(ifb_of_network(net.config.id));
    }
    const MutexLock lock(state.netlink_mutex);
    const std::string loop = loop_name(state.options.bridge);
    if (state.netlink.link(loop)) {
        remove.delete_link(loop);
        remove.remove_rule_for_mark(Ip::Family::v6, loop_mark, loop_route_table);
    }
    state.netlink.run(remove);
}

}  // namespace grua::network
