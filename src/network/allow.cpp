// Who may reach containers that have a policy. Others of a network are one element, whoever is on it; containers and labels are
// resolved to the addresses that they have now, and again when a container comes, goes or is renamed.
#include "base/error.hpp"
#include "network/networks_impl.hpp"

#include <algorithm>
#include <iterator>
#include <ranges>

namespace grua::network {

using linux::Ip;

namespace {

constexpr std::size_t least_id = 12;  // Characters of a container's ID that name it.

}  // namespace

bool is_network(const AllowedPeer& peer, const NetworkConfig& network) {
    return peer.kind == AllowedPeer::Kind::network && (peer.name == network.name || peer.name == network.id);
}

std::vector<Ip> addresses_of(const Joined& joined) {
    std::vector<Ip> out;
    for (const std::string* text : {&joined.endpoint.ip, &joined.endpoint.ipv6})
        if (const auto address = Ip::parse(*text)) out.push_back(*address);
    return out;
}

const Policy* Networks::State::policy_of(const Net& net, const std::string& container_id) const {
    const auto identity = identities.find(container_id);
    if (identity != identities.end() && identity->second.policy) return &*identity->second.policy;
    return net.bridge.policy ? &*net.bridge.policy : nullptr;
}

/// The container is the one, or has the label, that the policy names.
bool Networks::State::is_peer(const AllowedPeer& peer, const std::string& container_id) const {
    const auto identity = identities.find(container_id);
    if (identity == identities.end()) return false;
    if (peer.kind == AllowedPeer::Kind::label) {
        const auto label = identity->second.labels.find(peer.name);
        return label != identity->second.labels.end() && (!peer.value || *peer.value == label->second);
    }
    return peer.kind == AllowedPeer::Kind::container &&
           (identity->second.name == peer.name || (peer.name.size() >= least_id && container_id.starts_with(peer.name)));
}

/// A link of the one opens the exposed ports of the other. Without a port there is nothing to open.
bool Networks::State::is_linked(const Net& net, const std::string& source, const std::string& target) const {
    const auto identity = identities.find(source);
    const auto other = identities.find(target);
    return !net.bridge.icc && net.config.name == "bridge" && identity != identities.end() && other != identities.end() &&
           net.joined.contains(target) && std::ranges::count(identity->second.links, target) != 0 && !other->second.exposed.empty();
}

/// A container on a bridge network.
struct Networks::State::Place {
    const Net& net;
    const Joined& joined;
};

std::vector<Networks::State::Place> Networks::State::places_of(const std::string& container_id) const {
    std::vector<Place> out;
    for (const Net& net : std::views::values(nets)) {
        const auto joined = net.joined.find(container_id);
        if (net.is_bridge() && joined != net.joined.end()) out.push_back({net, joined->second});
    }
    return out;
}

namespace {

using Sources = std::vector<std::optional<Ip>>;

Sources sources_of(const Joined& joined) {
    const std::vector<Ip> addresses = addresses_of(joined);
    return {addresses.begin(), addresses.end()};
}

/// From these addresses on network `from`, or from all of it, to a container of `net`.
void add_allowed(const Net& net, const Joined& target, const Net& from, const Sources& sources,
                 const std::vector<std::pair<std::uint8_t, std::uint16_t>>& ports, std::set<linux::NftElement>& out) {
    for (const Ip& address : addresses_of(target)) {
        for (const auto& source : sources) {
            if (source && source->family != address.family) continue;
            for (auto& element : allowed_elements({.address = address,
                                                   .source = source,
                                                   .source_link = from.bridge.link,
                                                   .is_neighbour = from.config.id == net.config.id,
                                                   .ports = ports}))
                out.insert(std::move(element));
        }
    }
}

}  // namespace

/// Whoever a container's policies name.
void Networks::State::add_as_target(const std::string& target, const std::vector<Place>& places, PairRules::Pairs& out) const {
    for (const auto& [net, joined] : places) {
        const Policy* policy = policy_of(net, target);
        if (!policy) continue;
        for (const Ip& address : addresses_of(joined)) out[{target, ""}].insert(restricted_element(address));
        for (const AllowedPeer& peer : *policy) {
            for (const Net& from : std::views::values(nets)) {
                if (!from.is_bridge()) continue;
                if (is_network(peer, from.config)) add_allowed(net, joined, from, {std::nullopt}, peer.ports, out[{target, ""}]);
                if (peer.kind == AllowedPeer::Kind::network) continue;
                for (const auto& [id, source] : from.joined)
                    if (id != target && is_peer(peer, id))
                        add_allowed(net, joined, from, sources_of(source), peer.ports, out[{target, id}]);
            }
        }
    }
}

/// Those whose policies name a container. Those of a network have one policy, which is asked once.
void Networks::State::add_as_source(const std::string& source, const std::vector<Place>& places, PairRules::Pairs& out) const {
    const auto add = [&](const std::string& target, const Place& at, const AllowedPeer& peer) {
        if (target == source) return;
        for (const auto& [from, joined] : places)
            add_allowed(at.net, at.joined, from, sources_of(joined), peer.ports, out[{target, source}]);
    };
    const auto is_named = [&](const AllowedPeer& peer) GRUA_REQUIRES(mutex) { return is_peer(peer, source); };
    for (const std::string& id : with_policy) {
        if (const auto net = nets.find(id); net != nets.end() && net->second.bridge.policy) {
            const Policy& policy = *net->second.bridge.policy;
            for (const AllowedPeer& peer : policy | std::views::filter(is_named))
                for (const auto& [target, joined] : net->second.joined)
                    if (policy_of(net->second, target) == &policy) add(target, {net->second, joined}, peer);
        }
        if (const auto identity = identities.find(id); identity != identities.end() && identity->second.policy) {
            for (const AllowedPeer& peer : *identity->second.policy | std::views::filter(is_named))
                for (const Place& each : places_of(id)) add(id, each, peer);
        }
    }
}

/// What a container's links, and links to it, open on a bridge whose containers do not reach each other.
void Networks::State::add_links(const std::string& container_id, const std::vector<Place>& places, PairRules::Pairs& out) const {
    const auto add = [&](const std::string& source, const std::string& target) GRUA_REQUIRES(mutex) {
        for (const Place& place : places) {
            const Net& net = place.net;
            if (!net.joined.contains(source) || !is_linked(net, source, target)) continue;
            auto& rules = out[{target, source}];
            const Joined& to = net.joined.at(target);
            add_allowed(net, to, net, sources_of(net.joined.at(source)), identities.at(target).exposed, rules);
            for (const Ip& address : addresses_of(to))
                if (address.is_v4()) rules.insert(linked_element(address));
        }
    };
    const auto links_of = [&](const std::string& id) GRUA_REQUIRES(mutex) {
        const auto identity = identities.find(id);
        return identity == identities.end() ? std::vector<std::string>() : identity->second.links;
    };
    for (const std::string& target : links_of(container_id)) add(container_id, target);
    for (const std::string& id : with_policy)
        if (std::ranges::count(links_of(id), container_id) != 0) add(id, container_id);
}

void PairRules::replace(const Pairs::key_type& pair, std::set<linux::NftElement> now) {
    auto& before = pairs_[pair];
    for (const auto& each : before) {
        const auto count = counts_.find(each);
        had_.try_emplace(each, true);
        if (--count->second == 0) counts_.erase(count);
    }
    for (const auto& each : now) {
        had_.try_emplace(each, counts_.contains(each));
        ++counts_[each];
    }
    before = std::move(now);
    if (before.empty()) {
        by_source_.erase({pair.second, pair.first});
        pairs_.erase(pair);
    } else {
        by_source_.insert({pair.second, pair.first});
    }
}

void PairRules::renew(const std::string& container_id, Pairs now) {
    // Those that were, and may be no more.
    for (auto each = pairs_.lower_bound({container_id, ""}); each != pairs_.end() && each->first.first == container_id; ++each)
        now.try_emplace(each->first);
    for (auto each = by_source_.lower_bound({container_id, ""}); each != by_source_.end() && each->first == container_id; ++each)
        now.try_emplace({each->second, container_id});
    for (auto& [pair, rules] : now) replace(pair, std::move(rules));
}

RuleChange PairRules::take_change() {
    RuleChange out;
    for (const auto& [element, was] : had_) {
        const bool is = counts_.contains(element);
        if (was && !is) out.removed.push_back(element);
        if (is && !was) out.added.push_back(element);
    }
    had_.clear();
    return out;
}

void Networks::State::note_policy(const std::string& id, bool has_one) {
    if (has_one) {
        with_policy.insert(id);
    } else {
        with_policy.erase(id);
    }
}

/// After containers have come, gone, or changed, and before one that has come runs: `change`, and with it in one transaction what the
/// policies say now of these containers. No moment is without either.
void Networks::State::change_rules(RuleChange change, std::string_view doing, const std::vector<std::string>& containers) {
    const MutexLock one_at_a_time(policy_mutex);
    {
        const MutexLock lock(mutex);
        if (!with_policy.empty() || !policy_rules.empty()) {
            for (const std::string& id : containers) {
                const std::vector<Place> places = places_of(id);
                PairRules::Pairs now;
                add_as_target(id, places, now);
                add_as_source(id, places, now);
                add_links(id, places, now);
                policy_rules.renew(id, std::move(now));
            }
            const RuleChange more = policy_rules.take_change();
            change.removed.insert(change.removed.end(), more.removed.begin(), more.removed.end());
            change.added.insert(change.added.end(), more.added.begin(), more.added.end());
        }
    }
    if (!change.removed.empty() || !change.added.empty()) firewall.change(change.removed, change.added, doing);
}

void Networks::State::refresh_policies(const std::vector<std::string>& containers) { change_rules({}, "network policies", containers); }

void Networks::State::refresh_policies() {
    std::vector<std::string> all;
    {
        const MutexLock lock(mutex);
        std::ranges::copy(std::views::keys(identities), std::back_inserter(all));
    }
    refresh_policies(all);
}

/// A network has come or gone that policies may name.
void Networks::State::refresh_policies_about(const NetworkConfig& network) {
    std::vector<std::string> found;
    const auto names_it = [&](const std::optional<Policy>& policy) {
        return policy && std::ranges::any_of(*policy, [&](const AllowedPeer& peer) { return is_network(peer, network); });
    };
    {
        const MutexLock lock(mutex);
        for (const std::string& id : with_policy) {
            if (const auto net = nets.find(id); net != nets.end() && names_it(net->second.bridge.policy))
                std::ranges::copy(std::views::keys(net->second.joined), std::back_inserter(found));
            if (const auto identity = identities.find(id); identity != identities.end() && names_it(identity->second.policy))
                found.push_back(id);
        }
    }
    if (!found.empty()) refresh_policies(found);
}

void Networks::set_policy(const std::string& container_id, const std::optional<Policy>& policy) {
    State& state = *state_;
    {
        const MutexLock lock(state.mutex);
        const auto identity = state.identities.find(container_id);
        if (identity == state.identities.end())
            fail(ErrorKind::invalid_argument, "a container without networks of its own has no network policy");
        const auto before = std::exchange(identity->second.policy, policy);
        try {
            state.check_limitable(container_id);
        } catch (...) {
            identity->second.policy = before;
            throw;
        }
        state.note_policy(container_id, identity->second.has_rules());
    }
    state.refresh_policies({container_id});
}

}  // namespace grua::network
