// Limits of rates. What goes to a container waits in a token bucket at the host's end of its link; what comes from it is led
// through an "ifb" link, which has another: a container with CAP_NET_ADMIN could change one at its own end. A network's rate
// is that of its bridge, divided among its containers by HTB; which packet is whose the firewall's maps "shares" say.
#include "base/error.hpp"
#include "base/log.hpp"
#include "network/networks_impl.hpp"

#include <algorithm>
#include <ranges>

namespace grua::network {

using linux::NetlinkBatch;

namespace {

int index_of(linux::Netlink& netlink, const std::string& link) {
    const auto found = netlink.link(link);
    if (!found) fail(ErrorKind::system, "link {} vanished", link);
    return found->index;
}

/// What comes in by `link` goes through an ifb link from now on; its index.
int lead_through(linux::Netlink& netlink, int link, const std::string& ifb, const std::string& alias) {
    if (const auto there = netlink.link(ifb)) return there->index;
    NetlinkBatch make;
    make.create_link(ifb, "ifb");
    netlink.run(make);
    try {
        set_ipv6(linux::Sysctls(), ifb, false);
        const int index = index_of(netlink, ifb);
        NetlinkBatch lead;
        lead.change_link(ifb, {.up = true, .alias = alias});
        lead.redirect_incoming(link, index);
        netlink.run(lead);
        return index;
    } catch (...) {
        NetlinkBatch remove;
        remove.delete_link(ifb);
        netlink.run(remove);
        throw;
    }
}

}  // namespace

std::string ifb_of_network(const std::string& network_id) { return "ifb" + network_id.substr(0, 12); }
std::string ifb_of_link(const std::string& link) {
    constexpr std::string_view prefix = "veth";
    return link.starts_with(prefix) ? "ifb" + link.substr(prefix.size()) : "";
}

std::uint16_t Net::take_share() {
    if (!bridge.limits.any()) return 0;
    std::uint16_t free = 2;  // 1 is the network's own.
    for (const std::uint16_t each : shares) {
        if (each != free) break;
        ++free;
    }
    shares.insert(free);
    return free;
}

/// On a network without an end of the container's link on the host nothing could be limited.
void Networks::State::check_limitable(const std::string& container_id, const Net& net) const {
    const auto identity = identities.find(container_id);
    if (net.is_bridge() || identity == identities.end() || !(identity->second.limits.any() || identity->second.policy)) return;
    fail(ErrorKind::not_implemented, "not implemented: net-rate-in, net-rate-out and network-allow on a network of driver {} ({})",
         net.config.driver, net.config.name);
}

void Networks::State::check_limitable(const std::string& container_id) const {
    for (const Net& net : std::views::values(nets))
        if (net.joined.contains(container_id)) check_limitable(container_id, net);
}

void Networks::State::limit_endpoint(const std::string& link, const std::string& alias, const RateLimits& before, const RateLimits& after) {
    if (before == after || link.empty()) return;
    const std::string ifb = ifb_of_link(link);
    const MutexLock lock(netlink_mutex);
    const int index = index_of(netlink, link);
    NetlinkBatch batch;
    if (after.in.bits != 0) {
        batch.set_rate(index, after.in);
    } else if (before.in.bits != 0) {
        batch.remove_queue(index);
    }
    if (after.out.bits != 0) {
        batch.set_rate(lead_through(netlink, index, ifb, alias), after.out);
    } else if (before.out.bits != 0) {
        batch.remove_redirect(index);
        batch.delete_link(ifb);
    }
    netlink.run(batch);
}

/// All of a network's rates anew.
void Networks::State::limit_network(const std::string& network_id) {
    RateLimits limits;
    std::vector<std::uint16_t> shares;
    int index = 0;
    std::string alias;
    {
        const MutexLock lock(mutex);
        const auto found = nets.find(network_id);
        if (found == nets.end() || !found->second.is_bridge() || found->second.index == 0) return;
        limits = found->second.bridge.limits;
        index = found->second.index;
        alias = alias_prefix + "network:" + network_id;
        for (const Joined& each : std::views::values(found->second.joined))
            if (each.share != 0) shares.push_back(each.share);
    }
    const std::string ifb = ifb_of_network(network_id);
    const MutexLock lock(netlink_mutex);
    NetlinkBatch batch;
    const auto queue = netlink.queue(index);
    if (queue && queue->kind == "htb") batch.remove_queue(index);
    const auto share = [&](int link, const linux::Rate& rate) {
        batch.set_shared_rate(link, rate);
        for (const std::uint16_t each : shares) batch.set_share(link, each, rate);
    };
    if (limits.in.bits != 0) share(index, limits.in);
    if (const auto there = netlink.link(ifb)) {
        batch.remove_redirect(index);
        batch.delete_link(ifb);
    }
    if (!batch.empty()) netlink.run(std::exchange(batch, {}));
    if (limits.out.bits != 0) share(lead_through(netlink, index, ifb, alias), limits.out);
    if (!batch.empty()) netlink.run(batch);
}

/// Of one more container, or one less.
void Networks::State::change_share(const SharedRate& of, bool is_there) {
    NetlinkBatch batch;
    const auto change = [&](int link, const linux::Rate& rate) {
        if (is_there) {
            batch.set_share(link, of.share, rate);
        } else {
            batch.remove_share(link, of.share);
        }
    };
    if (of.limits.in.bits != 0) change(of.index, of.limits.in);
    if (of.limits.out.bits != 0)
        if (const auto ifb = netlink.link(ifb_of_network(of.network_id))) change(ifb->index, of.limits.out);
    if (!batch.empty()) netlink.run(batch);
}

void Networks::set_limits(const std::string& container_id, const RateLimits& limits) {
    State& state = *state_;
    RateLimits before;
    std::vector<std::pair<std::string, std::string>> links;  // With their aliases.
    {
        const MutexLock lock(state.mutex);
        const auto identity = state.identities.find(container_id);
        if (identity == state.identities.end()) fail(ErrorKind::invalid_argument, "a container without networks of its own has no rate");
        before = std::exchange(identity->second.limits, limits);
        try {
            state.check_limitable(container_id);
        } catch (...) {
            identity->second.limits = before;
            throw;
        }
        for (const Net& net : std::views::values(state.nets)) {
            const auto joined = net.joined.find(container_id);
            if (joined != net.joined.end() && !joined->second.link.empty())
                links.emplace_back(joined->second.link, state.alias_prefix + container_id + ":" + net.config.id);
        }
    }
    try {
        for (const auto& [link, alias] : links) state.limit_endpoint(link, alias, before, limits);
    } catch (...) {
        // What the kernel did not take does not hold.
        const MutexLock lock(state.mutex);
        if (const auto identity = state.identities.find(container_id); identity != state.identities.end()) identity->second.limits = before;
        throw;
    }
}

std::vector<LimitedInterface> Networks::limited(const std::string& container_id) {
    State& state = *state_;
    std::vector<LimitedInterface> out;
    std::vector<std::string> links;
    {
        const MutexLock lock(state.mutex);
        const auto identity = state.identities.find(container_id);
        if (identity == state.identities.end() || !identity->second.limits.any()) return {};
        for (const Net& net : std::views::values(state.nets)) {
            const auto joined = net.joined.find(container_id);
            if (joined == net.joined.end() || joined->second.link.empty()) continue;
            const RateLimits& limits = identity->second.limits;
            out.push_back({.interface = joined->second.endpoint.interface, .in = {.rate = limits.in}, .out = {.rate = limits.out}});
            links.push_back(joined->second.link);
        }
    }
    const MutexLock lock(state.netlink_mutex);
    for (std::size_t i = 0; i < out.size(); ++i) {
        for (const auto& [link, counters] : {std::pair{links[i], &out[i].in}, std::pair{ifb_of_link(links[i]), &out[i].out}}) {
            const auto found = counters->rate.bits == 0 ? std::nullopt : state.netlink.link(link);
            const auto queue = found ? state.netlink.queue(found->index) : std::nullopt;
            if (!queue) continue;
            counters->delayed = queue->delayed;
            counters->dropped = queue->dropped;
        }
    }
    return out;
}

Network Networks::update(std::string_view reference, const StringMap& options) {
    State& state = *state_;
    const MutexLock admin(state.admin);
    NetworkConfig config;
    {
        const MutexLock lock(state.mutex);
        const Net& net = state.find_net(reference);
        if (!net.is_bridge())
            fail(ErrorKind::forbidden, "network {} of driver {} has no options that change", net.config.name, net.config.driver);
        config = net.config;
    }
    for (const auto& [name, value] : options) {
        if (std::ranges::find(changeable_options, name) == changeable_options.end())
            fail(ErrorKind::invalid_argument, "option {} of a network does not change; these do: {}", name,
                 join({changeable_options.begin(), changeable_options.end()}, ", "));
        if (value.empty()) {
            config.options.erase(name);
        } else {
            config.options[name] = value;
        }
    }
    const BridgeSettings settings = bridge_settings(config);
    const RateLimits limits_before = [&] {
        const MutexLock lock(state.mutex);
        Net& net = state.nets.at(config.id);
        const RateLimits were = std::exchange(net.bridge.limits, settings.limits);
        for (Joined& joined : std::views::values(net.joined))
            if (joined.share == 0) joined.share = net.take_share();
        return were;
    }();
    if (settings.limits != limits_before) {
        try {
            state.limit_network(config.id);
        } catch (...) {
            const MutexLock lock(state.mutex);
            state.nets.at(config.id).bridge.limits = limits_before;
            throw;
        }
    }
    state.save(config);
    Elements before;
    Elements after;
    {
        const MutexLock lock(state.mutex);
        Net& net = state.nets.at(config.id);
        net.config = config;
        net.bridge = settings;
        state.note_policy(config.id, settings.policy.has_value());
        for (Joined& joined : std::views::values(net.joined)) {
            if (joined.link.empty()) continue;
            before.insert(before.end(), joined.elements.begin(), joined.elements.end());
            joined.elements = net.elements_of(joined);
            after.insert(after.end(), joined.elements.begin(), joined.elements.end());
        }
    }
    const RuleChange change = change_between(std::move(before), std::move(after));
    state.firewall.change(change.removed, change.added, "network " + config.name);
    state.refresh_policies();
    return find(config.id);
}

}  // namespace grua::network
