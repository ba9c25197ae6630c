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

std::vector<Ip> addresses_of(const Joined& joined) {
    std::vector<Ip> out;
    for (const std::string* text : {&joined.endpoint.ip, &joined.endpoint.ipv6})
        if (const auto address = Ip::parse(*text)) out.push_back(*address);
    return out;
}

/// With `mutex` held.
const Policy* Networks::State::policy_of(const Net& net, const std::string& container_id) const {
    const auto identity = identities.find(container_id);
    if (identity != identities.end() && identity->second.policy) return &*identity->second.policy;
    return net.bridge.policy ? &*net.bridge.policy : nullptr;
}

/// With `mutex` held: the container is the one, or has the label, that the policy names.
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

/// With `mutex` held: a link of the one opens the exposed ports of the other. Without a port there is nothing to open.
bool Networks::State::is_linked(const Net& net, const std::string& source, const std::string& target) const {
    const auto identity = identities.find(source);
    const auto other = identities.find(target);
    return !net.bridge.icc && net.config.name == "bridge" && identity != identities.end() && other != identities.end() &&
           net.joined.contains(target) && std::ranges::count(identity->second.links, target) != 0 && !other->second.exposed.empty();
}

namespace {

void add_allowed(const Net& net, const Joined& target, const Net& from, const Joined& source,
                 const std::vector<std::pair<std::uint8_t, std::uint16_t>>& ports, std::set<linux::NftElement>& out) {
    for (const Ip& to : addresses_of(target)) {
        for (const Ip& address : addresses_of(source)) {
            if (address.family != to.family) continue;
            for (auto& element : allowed_elements({.address = to,
                                                   .source = address,
                                                   .source_link = from.bridge.link,
                                                   .is_neighbour = from.config.id == net.config.id,
                                                   .ports = ports}))
                out.insert(std::move(element));
        }
    }
}

}  // namespace

/// With `mutex` held: what a container's policies say without regard to any other container.
std::set<linux::NftElement> Networks::State::rules_of_target(const std::string& target) const {
    std::set<linux::NftElement> out;
    for (const Net& net : std::views::values(nets)) {
        const auto joined = net.joined.find(target);
        const Policy* policy = joined != net.joined.end() && net.is_bridge() ? policy_of(net, target) : nullptr;
        if (!policy) continue;
        const std::vector<Ip> addresses = addresses_of(joined->second);
        for (const Ip& address : addresses) out.insert(restricted_element(address));
        for (const AllowedPeer& peer : *policy) {
            if (peer.kind != AllowedPeer::Kind::network) continue;
            for (const Net& from : std::views::values(nets)) {
                if (!from.is_bridge() || (from.config.name != peer.name && from.config.id != peer.name)) continue;
                for (const Ip& address : addresses)
                    for (auto& element : allowed_elements({.address = address,
                                                           .source = std::nullopt,
                                                           .source_link = from.bridge.link,
                                                           .is_neighbour = from.config.id == net.config.id,
                                                           .ports = peer.ports}))
                        out.insert(std::move(element));
            }
        }
    }
    return out;
}

/// With `mutex` held: all pairs of source and target that a container is one of, with what policies and links let through.
PairRules Networks::State::rules_of_pairs(const std::string& container_id) const {
    PairRules out;
    using Place = std::pair<const Net*, const Joined*>;
    std::vector<Place> places;
    for (const Net& net : std::views::values(nets)) {
        if (!net.is_bridge()) continue;
        if (const auto joined = net.joined.find(container_id); joined != net.joined.end()) places.emplace_back(&net, &joined->second);
    }
    if (places.empty()) return out;

    // As the target: of whoever its policies name.
    for (const auto& [net, joined] : places) {
        const Policy* policy = policy_of(*net, container_id);
        for (const AllowedPeer& peer : policy ? *policy : Policy{}) {
            if (peer.kind == AllowedPeer::Kind::network) continue;
            for (const Net& from : std::views::values(nets)) {
                if (!from.is_bridge()) continue;
                for (const auto& [id, source] : from.joined)
                    if (id != container_id && is_peer(peer, id))
                        add_allowed(*net, *joined, from, source, peer.ports, out[{container_id, id}]);
            }
        }
    }

    // As the source: to those whose policies name it. Those of a network have one policy, which is asked once.
    const auto reach = [&](const Net& net, const std::string& id, const Joined& target, const AllowedPeer& peer) {
        if (id == container_id) return;
        for (const auto& [from, source] : places) add_allowed(net, target, *from, *source, peer.ports, out[{id, container_id}]);
    };
    for (const std::string& id : with_policy) {
        const auto net = nets.find(id);
        const auto identity = identities.find(id);
        const Policy* policy = net != nets.end() && net->second.bridge.policy ? &*net->second.bridge.policy : nullptr;
        if (identity != identities.end() && identity->second.policy) policy = &*identity->second.policy;
        for (const AllowedPeer& peer : policy ? *policy : Policy{}) {
            if (!is_peer(peer, container_id)) continue;
            if (net != nets.end() && net->second.is_bridge()) {
                for (const auto& [target, joined] : net->second.joined)
                    if (policy_of(net->second, target) == policy) reach(net->second, target, joined, peer);
                continue;
            }
            for (const Net& each : std::views::values(nets))
                if (const auto joined = each.joined.find(id); each.is_bridge() && joined != each.joined.end())
                    reach(each, id, joined->second, peer);
        }
    }

    // Links, of it and to it.
    const auto link = [&](const std::string& source, const std::string& target) {
        for (const Net* net : std::views::keys(places)) {
            if (!net->joined.contains(source) || !is_linked(*net, source, target)) continue;
            auto& rules = out[{target, source}];
            const Joined& to = net->joined.at(target);
            add_allowed(*net, to, *net, net->joined.at(source), identities.at(target).exposed, rules);
            for (const Ip& address : addresses_of(to))
                if (address.is_v4()) rules.insert(linked_element(address));
        }
    };
    if (const auto identity = identities.find(container_id); identity != identities.end())
        for (const std::string& target : identity->second.links) link(container_id, target);
    for (const std::string& id : with_policy)
        if (const auto identity = identities.find(id);
            identity != identities.end() && std::ranges::count(identity->second.links, container_id) != 0)
            link(id, container_id);
    return out;
}

/// With `mutex` held.
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
    const std::lock_guard one_at_a_time(policy_mutex);
    {
        const std::lock_guard lock(mutex);
        if (!with_policy.empty() || !policy_rules.empty()) {
            std::map<linux::NftElement, bool> had;
            const auto replace = [&](const std::string& target, const std::string& source, std::set<linux::NftElement> now) {
                auto& before = policy_rules[{target, source}];
                for (const auto& each : before) {
                    const auto count = policy_elements.find(each);
                    had.try_emplace(each, true);
                    if (--count->second == 0) policy_elements.erase(count);
                }
                for (const auto& each : now) {
                    had.try_emplace(each, policy_elements.contains(each));
                    ++policy_elements[each];
                }
                before = std::move(now);
                if (before.empty()) {
                    policy_rules.erase({target, source});
                    policy_targets.erase({source, target});
                } else if (!source.empty()) {
                    policy_targets.insert({source, target});
                }
            };
            for (const std::string& id : containers) {
                PairRules now = rules_of_pairs(id);
                now[{id, ""}] = rules_of_target(id);
                // Those that were, and may be no more.
                for (auto each = policy_rules.lower_bound({id, ""}); each != policy_rules.end() && each->first.first == id; ++each)
                    now.try_emplace(each->first);
                for (auto each = policy_targets.lower_bound({id, ""}); each != policy_targets.end() && each->first == id; ++each)
                    now.try_emplace({each->second, id});
                for (auto& [pair, rules] : now) replace(pair.first, pair.second, std::move(rules));
            }
            for (const auto& [element, was] : had) {
                const bool is = policy_elements.contains(element);
                if (was && !is) change.removed.push_back(element);
                if (is && !was) change.added.push_back(element);
            }
        }
    }
    if (!change.removed.empty() || !change.added.empty()) firewall.change(change.removed, change.added, doing);
}

void Networks::State::refresh_policies(const std::vector<std::string>& containers) { change_rules({}, "network policies", containers); }

void Networks::State::refresh_policies() {
    std::vector<std::string> all;
    {
        const std::lock_guard lock(mutex);
        std::ranges::copy(std::views::keys(identities), std::back_inserter(all));
    }
    refresh_policies(all);
}

/// A network has come or gone that policies may name.
void Networks::State::refresh_policies_about(const NetworkConfig& network) {
    std::vector<std::string> found;
    const auto names_it = [&](const std::optional<Policy>& policy) {
        return policy && std::ranges::any_of(*policy, [&](const AllowedPeer& peer) {
                   return peer.kind == AllowedPeer::Kind::network && (peer.name == network.name || peer.name == network.id);
               });
    };
    {
        const std::lock_guard lock(mutex);
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
        const std::lock_guard lock(state.mutex);
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
