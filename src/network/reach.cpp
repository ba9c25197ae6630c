// Who reaches whom, as the rules have it: what networks, their options, policies and published ports add up to.
#include "network/networks_impl.hpp"

#include <linux/if_link.h>
#include <algorithm>
#include <ranges>

namespace grua::network {

using linux::Ip;

namespace {

using Port = std::pair<std::uint8_t, std::uint16_t>;

std::vector<std::string> texts_of(std::vector<Port> ports) {
    std::ranges::sort(ports);
    const auto repeated = std::ranges::unique(ports);
    ports.erase(repeated.begin(), repeated.end());
    std::vector<std::string> out;
    for (const auto& [protocol, port] : ports) out.push_back(fmt::format("{}/{}", port, protocol_name(protocol)));
    return out;
}

std::vector<std::string> addresses_of(const Endpoint& endpoint) {
    std::vector<std::string> out;
    for (const std::string* each : {&endpoint.ip, &endpoint.ipv6})
        if (!each->empty()) out.push_back(*each);
    return out;
}

bool is_v4(const std::string& address) { return !address.contains(':'); }
bool is_loopback(const std::string& address) { return Ip::parse(address).value_or(Ip{}).is_loopback(); }

}  // namespace

/// From a container of network `from` to `address` of a container on network `net`. Nothing where no rule leads there.
std::optional<Reach> Networks::State::reach_between(const Net& from, const std::string& source, const Net& net, const std::string& target,
                                                    const std::string& address) const {
    Reach out{.from = source, .to = target, .by = "network " + net.config.name, .address = address};
    const bool is_neighbour = from.config.id == net.config.id;
    if (!net.is_bridge() || !from.is_bridge()) {
        // Those of one parent meet on it, unless the mode says otherwise.
        const bool is_open = net.config.driver == "macvlan" ? net.child.mode == MACVLAN_MODE_BRIDGE : net.child.flags == 0;
        if (!is_neighbour || !is_open) return std::nullopt;
        out.all = true;
        return out;
    }
    const Policy* policy = policy_of(net, target);
    const auto& of_source = from.joined.at(source).endpoint;
    // What leaves a container has its address on the network that it leaves by, so of that family.
    if ((is_v4(address) ? of_source.ip : of_source.ipv6).empty()) return std::nullopt;
    if (!is_neighbour && (!policy || net.config.internal || from.config.internal)) return std::nullopt;
    if (policy) {
        out.by = "policy";
        std::vector<Port> ports;
        for (const AllowedPeer& peer : *policy) {
            const bool is_named = is_network(peer, from.config) || is_peer(peer, source);
            if (!is_named) continue;
            out.all = out.all || peer.ports.empty();
            ports.insert(ports.end(), peer.ports.begin(), peer.ports.end());
        }
        out.ports = texts_of(std::move(ports));
        return out.all || !out.ports.empty() ? std::optional(out) : std::nullopt;
    }
    if (!net.bridge.icc) {
        if (!is_linked(net, source, target)) return std::nullopt;
        out.by = "link";
        out.ports = texts_of(identities.at(target).exposed);
        return out;
    }
    out.all = true;
    return out;
}

/// What the ports of a container are reached by, from outside and from others.
std::vector<Reach> Networks::State::reach_published(const std::string& target) const {
    std::vector<Reach> out;
    const auto found = published.find(target);
    if (found == published.end()) return out;
    const auto net = nets.find(found->second.network_id);
    for (const PublishedPort& each : found->second.ports) {
        Reach one{.to = target, .by = "published", .address = each.host_ip.text()};
        one.ports = {fmt::format("{}/{}", each.host_port, protocol_name(each.protocol))};
        if (each.host_port == 0) {
            if (net == nets.end()) continue;
            const Endpoint& endpoint = net->second.joined.at(target).endpoint;
            one.by = "routed";
            one.address = each.host_ip.is_v4() ? endpoint.ip : endpoint.ipv6;
            one.ports = {fmt::format("{}/{}", each.port, protocol_name(each.protocol))};
        } else if (is_guarded(target, each)) {
            one.by = "published, if the host's input rules accept it";
        }
        out.push_back(std::move(one));
    }
    return out;
}

std::vector<Reach> Networks::reach() const {
    const State& state = *state_;
    const MutexLock lock(state.mutex);
    std::vector<Reach> out;
    for (const std::string& target : std::views::keys(state.identities)) {
        const std::vector<Reach> by_ports = state.reach_published(target);
        for (const Reach& each : by_ports) {
            for (const char* from : {"host", "outside"}) {
                if (from == std::string_view("outside") && is_loopback(each.address)) continue;
                out.push_back(each);
                out.back().from = from;
            }
        }
        for (const Net& net : std::views::values(state.nets)) {
            const auto joined = net.joined.find(target);
            if (joined == net.joined.end()) continue;
            const Endpoint& endpoint = joined->second.endpoint;
            for (const std::string& address : addresses_of(endpoint)) {
                const GatewayMode mode = is_v4(address) ? net.bridge.mode4 : net.bridge.mode6;
                if (net.is_bridge() && mode != GatewayMode::isolated)
                    out.push_back({.from = "host", .to = target, .by = "network " + net.config.name, .address = address, .all = true});
                if (net.is_child() || (mode == GatewayMode::nat_unprotected && !net.config.internal))
                    out.push_back({.from = "outside", .to = target, .by = "network " + net.config.name, .address = address, .all = true});
                for (const std::string& source : std::views::keys(state.identities)) {
                    if (source == target) continue;
                    const std::size_t before = out.size();
                    for (const Net& from : std::views::values(state.nets)) {
                        auto one = from.joined.contains(source) ? state.reach_between(from, source, net, target, address) : std::nullopt;
                        if (one) out.push_back(std::move(*one));
                    }
                    // That there is none is said too.
                    if (out.size() == before) out.push_back({.from = source, .to = target, .by = "", .address = address});
                }
            }
            for (const auto& [gateway, any] : {std::pair{&endpoint.gateway, "0.0.0.0/0"}, std::pair{&endpoint.ipv6_gateway, "::/0"}})
                if (!gateway->empty())
                    out.push_back({.from = target, .to = "outside", .by = "network " + net.config.name, .address = any, .all = true});
        }
        for (const std::string& source : std::views::keys(state.identities)) {
            if (source == target) continue;
            const auto leads_out = [&](const Net& net) {
                const auto joined = net.joined.find(source);
                return joined != net.joined.end() &&
                       (!joined->second.endpoint.gateway.empty() || !joined->second.endpoint.ipv6_gateway.empty());
            };
            if (std::ranges::none_of(std::views::values(state.nets), leads_out)) continue;
            for (const Reach& each : by_ports) {
                if (is_loopback(each.address)) continue;
                out.push_back(each);
                out.back().from = source;
            }
        }
    }
    return out;
}

}  // namespace grua::network
