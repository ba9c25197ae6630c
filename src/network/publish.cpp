// Published ports: what the host's ports lead to, by the firewall, by the guarded way behind the host's input rules, or by the proxy.
#include "base/error.hpp"
#include "base/log.hpp"
#include "linux/netlink_conntrack.hpp"
#include "linux/netns.hpp"
#include "linux/sysctls.hpp"
#include "network/networks_impl.hpp"

#include <netinet/in.h>
#include <algorithm>
#include <ranges>

namespace grua::network {

using linux::Ip;
using linux::IpPrefix;
using linux::Mac;

constexpr std::string_view no_network_to_publish = "the container is on no network that ports can be published on";

/// Where the host listens for it.
std::vector<Ip> Networks::State::host_addresses(const PortRequest& request, const BridgeSettings& settings,
                                                const Endpoint& endpoint) const {
    if (request.host_ip) return {*request.host_ip};
    if (settings.host_binding && !settings.host_binding->is_unspecified()) return {*settings.host_binding};
    if (options.port_address && !options.port_address->is_unspecified()) return {*options.port_address};
    std::vector<Ip> out;
    if (!endpoint.ip.empty()) out.push_back({Ip::Family::v4, 0});
    out.push_back({Ip::Family::v6, 0});
    return out;
}

bool Networks::State::is_guarded(const std::string& container_id, const PublishedPort& port) const {
    PublishPolicy policy = options.publish_policy;
    if (const auto identity = identities.find(container_id); identity != identities.end()) {
        policy = identity->second.publish_policy.value_or(policy);
        const auto own = identity->second.port_policies.find(fmt::format("{}/{}", port.port, protocol_name(port.protocol)));
        if (own != identity->second.port_policies.end()) policy = own->second;
    }
    return policy == PublishPolicy::host_input;
}

/// The link by which admitted connections come in again: a pair whose ends have one MAC and ask nobody for another. With the
/// first guarded port, because a host without one needs none.
void Networks::State::prepare_guard() {
    std::call_once(guard_prepared, [&] {
        const std::string out = loop_name(options.bridge);
        const std::string in = out + "i";
        const std::string alias = alias_prefix + "loop";
        const MutexLock lock(netlink_mutex);
        if (!netlink.link(out)) {
            linux::NetlinkBatch make;
            const Fd here = linux::NetnsVisit::current();
            make.create_veth({.name = out, .peer_name = in, .peer_netns = here.get(), .mtu = 65535});
            netlink.run(make);
        }
        const Mac mac = Mac::random();
        linux::NetlinkBatch up;
        for (const std::string& each : {out, in}) up.change_link(each, {.up = true, .mac = mac, .alias = alias, .no_arp = true});
        netlink.run(up);
        // Clients' addresses come in here; loose, so that a strict setting for all links does not drop them, for which the
        // link must have an address.
        linux::Sysctls().write(fmt::format("net/ipv4/conf/{}/rp_filter", in), "2");
        const int in_index = netlink.link(in)->index;
        const IpPrefix address = *IpPrefix::parse("169.254.86.84/32");
        linux::NetlinkBatch route;
        const auto is_it = [&](const linux::LinkAddress& each) { return each.link == in_index && each.address == address; };
        if (std::ranges::none_of(netlink.addresses(), is_it)) route.add_address(in_index, address);
        route.add_route(*IpPrefix::parse("169.254.86.83/32"), netlink.link(out)->index);
        netlink.run(route);
        // The reverse path check of firewalld asks whether a client would be reached by this link. Without IPv6 there is none.
        try {
            linux::NetlinkBatch back;
            back.add_route(*IpPrefix::parse("::/0"), in_index, loop_route_table);
            netlink.run(back);
            linux::NetlinkBatch rule;
            rule.add_rule_for_mark(Ip::Family::v6, loop_mark, loop_route_table);
            netlink.run(rule);
        } catch (const Error& error) {
            if (error.os_error() != EEXIST) log::info("published ports, IPv6: {}", error.what());
        }
        firewall.guard(out);
    });
}

/// The network that a container's ports are published on; as long as it is on it the same.
Net* Networks::State::port_network(const std::string& container_id, Published& of_container) {
    if (const auto known = nets.find(of_container.network_id); known != nets.end() && known->second.joined.contains(container_id))
        return &known->second;
    Net* best = nullptr;
    for (Net& net : std::views::values(nets)) {
        const auto found = net.joined.find(container_id);
        if (found == net.joined.end() || !net.is_bridge() || net.config.internal) continue;
        if (!best || comes_first(found->second.endpoint, best->joined.at(container_id).endpoint)) best = &net;
    }
    of_container.network_id = best ? best->config.id : "";
    return best;
}

/// The rules of a container's ports as they should be; `of_container` has those that were before.
Elements Networks::State::port_rules(const std::string& container_id, Published& of_container) {
    Elements out;
    const Net* net = port_network(container_id, of_container);
    const Endpoint none;
    const Endpoint& endpoint = net ? net->joined.at(container_id).endpoint : none;
    std::map<PublishedPort, Proxy::Target> proxied;
    for (const PublishedPort& each : of_container.ports) {
        const bool v4 = each.host_ip.is_v4();
        const std::string& target = v4 ? endpoint.ip : endpoint.ipv6;
        const std::string& other = v4 ? endpoint.ipv6 : endpoint.ip;
        // Nor does the kernel let anything leave the host that comes from ::1.
        const bool is_loopback = !v4 && (each.host_ip.is_unspecified() || each.host_ip.is_loopback());
        const std::string& reached = target.empty() ? other : target;
        if ((target.empty() || is_loopback) && !reached.empty() && each.host_port != 0 && each.protocol != IPPROTO_SCTP)
            proxied[each] = {.address = *Ip::parse(reached), .port = each.port};
        if (target.empty()) continue;
        const bool any = each.host_ip.is_unspecified();
        for (auto& element : port_elements({.protocol = each.protocol,
                                            .host_address = any ? std::nullopt : std::optional(each.host_ip),
                                            .host_port = each.host_port,
                                            .address = *Ip::parse(target),
                                            .port = each.port,
                                            .closed = !net->bridge.icc,
                                            .guarded = is_guarded(container_id, each)}))
            out.push_back(std::move(element));
    }
    for (const auto& [port, target] : of_container.proxied)
        if (!proxied.contains(port) && std::ranges::find(of_container.ports, port) != of_container.ports.end())
            host_ports.forward(port, std::nullopt);
    for (const auto& [port, target] : proxied) {
        const auto before = of_container.proxied.find(port);
        if (before == of_container.proxied.end() || before->second != target) host_ports.forward(port, target);
    }
    of_container.proxied = std::move(proxied);
    return out;
}

/// After a change of the container's ports or networks: what is no longer, and what is new.
RuleChange Networks::State::change_of_ports(const std::string& container_id) {
    const MutexLock lock(mutex);
    const auto found = published.find(container_id);
    if (found == published.end()) return {};
    Elements before = std::move(found->second.elements);
    found->second.elements = port_rules(container_id, found->second);
    return change_between(std::move(before), found->second.elements);
}

std::vector<PublishedPort> Networks::State::ports_of(const std::string& container_id) const {
    const MutexLock lock(mutex);
    const auto found = published.find(container_id);
    return found == published.end() ? std::vector<PublishedPort>{} : found->second.ports;
}

bool has_udp(const std::vector<PublishedPort>& ports) { return std::ranges::count(ports, IPPROTO_UDP, &PublishedPort::protocol) != 0; }

/// After the rules of `ports` have changed, or a container with the addresses `ended` has gone: the kernel leads a flow of datagrams where
/// it led the first one, for as long as its client goes on. From now on they go where the rules say.
void Networks::State::forget_udp(const std::vector<PublishedPort>& ports, const std::vector<Ip>& ended) {
    std::multimap<std::uint16_t, Ip> changed;
    for (const PublishedPort& each : ports)
        if (each.protocol == IPPROTO_UDP && each.host_port != 0) changed.emplace(each.host_port, each.host_ip);
    if (changed.empty() && ended.empty()) return;
    const auto is_meant = [&](const linux::Flow& flow) {
        if (std::ranges::count(ended, flow.answered_by) != 0) return true;
        const auto [first, last] = changed.equal_range(flow.destination_port);
        return std::any_of(first, last, [&](const auto& each) {
            return each.second.family == flow.destination.family && (each.second.is_unspecified() || each.second == flow.destination);
        });
    };
    for (const Ip::Family family : {Ip::Family::v4, Ip::Family::v6}) {
        const auto is_of = [&](const Ip& ip) { return ip.family == family; };
        if (std::ranges::none_of(ended, is_of) && std::ranges::none_of(changed, is_of, &std::pair<const std::uint16_t, Ip>::second))
            continue;
        try {
            linux::forget_flows(family, IPPROTO_UDP, is_meant);
        } catch (const Error& error) {
            log::warn("published ports: {}", error.what());
        }
    }
}

/// Takes the host's ports for the container, which has joined its networks.
std::vector<PublishedPort> Networks::State::publish(const std::string& container_id, const std::vector<PortRequest>& requests) {
    if (requests.empty()) return {};
    BridgeSettings settings;
    Endpoint endpoint;
    std::string name;
    {
        const MutexLock lock(mutex);
        Published& of_container = published[container_id];
        const Net* net = port_network(container_id, of_container);
        if (!net) return {};
        settings = net->bridge;
        endpoint = net->joined.at(container_id).endpoint;
        if (const auto identity = identities.find(container_id); identity != identities.end()) name = identity->second.name;
    }
    std::vector<PublishedPort> out;
    try {
        for (const PortRequest& request : requests) {
            std::vector<Ip> translated;
            for (const Ip& each : host_addresses(request, settings, endpoint)) {
                const GatewayMode mode = each.is_v4() ? settings.mode4 : settings.mode6;
                if (mode == GatewayMode::routed) {
                    out.push_back({.protocol = request.protocol, .port = request.port, .host_ip = {each.family, 0}, .host_port = 0});
                } else {
                    translated.push_back(each);
                }
            }
            if (translated.empty()) continue;
            for (const PublishedPort& each : host_ports.reserve(request, translated)) out.push_back(each);
        }
    } catch (Error& error) {
        for (const PublishedPort& each : out) host_ports.release(each);
        error.add_context(fmt::format("driver failed programming external connectivity on endpoint {} ({})", name, endpoint.endpoint_id));
        throw;
    }
    bool guarded = false;
    {
        const MutexLock lock(mutex);
        auto& all = published[container_id].ports;
        all.insert(all.end(), out.begin(), out.end());
        if (const auto identity = identities.find(container_id); identity != identities.end() && has_udp(out))
            identity->second.had_udp = true;
        guarded = std::ranges::any_of(out, [&](const PublishedPort& each) GRUA_REQUIRES(mutex) { return is_guarded(container_id, each); });
    }
    if (guarded) prepare_guard();
    return out;
}

bool Networks::can_publish(const std::string& container_id) const {
    const MutexLock lock(state_->mutex);
    Published of_container;
    return state_->port_network(container_id, of_container) != nullptr;
}

std::vector<PublishedPort> Networks::change_ports(const std::string& container_id, const std::vector<PublishedPort>& removed,
                                                  const std::vector<PortRequest>& added) {
    State& state = *state_;
    if (!added.empty() && !can_publish(container_id)) fail(ErrorKind::invalid_argument, "{}", no_network_to_publish);
    std::vector<PublishedPort> changed = state.publish(container_id, added);
    std::vector<PublishedPort> left;
    std::vector<PublishedPort> gone;
    {
        const MutexLock lock(state.mutex);
        auto& all = state.published[container_id].ports;
        for (const PublishedPort& each : removed)
            if (std::erase(all, each) > 0) gone.push_back(each);
        left = all;
    }
    const auto change = state.change_of_ports(container_id);
    state.firewall.change(change.removed, change.added, "container " + container_id.substr(0, 12));
    for (const PublishedPort& each : gone) state.host_ports.release(each);
    changed.insert(changed.end(), gone.begin(), gone.end());
    state.forget_udp(changed);
    return left;
}

std::vector<PublishedPort> Networks::move_ports(const std::string& from, const std::string& to) {
    State& state = *state_;
    std::vector<PublishedPort> now;
    {
        const MutexLock lock(state.mutex);
        auto moved = state.published.extract(from);
        if (moved.empty()) return {};
        auto& target = state.published[to];
        if (!state.port_network(to, target)) {
            state.published.insert(std::move(moved));
            fail(ErrorKind::invalid_argument, "{}", no_network_to_publish);
        }
        target.ports.insert(target.ports.end(), moved.mapped().ports.begin(), moved.mapped().ports.end());
        target.elements.insert(target.elements.end(), moved.mapped().elements.begin(), moved.mapped().elements.end());
        target.proxied.merge(moved.mapped().proxied);
        now = target.ports;
        if (const auto identity = state.identities.find(to); identity != state.identities.end() && has_udp(now))
            identity->second.had_udp = true;
    }
    const auto change = state.change_of_ports(to);
    state.firewall.change(change.removed, change.added, "container " + to.substr(0, 12));
    return now;
}

}  // namespace grua::network
