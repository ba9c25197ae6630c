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

/// With `mutex` held: what the firewall has of the policy of one container on one network.
void Networks::State::add_policy(const Net& net, const std::string& container_id, std::set<linux::NftElement>& out) const {
    const Policy* policy = policy_of(net, container_id);
    if (!policy) return;
    for (const Ip& target : addresses_of(net.joined.at(container_id))) {
        out.insert(restricted_element(target));
        const auto allow = [&](const AllowedPeer& peer, std::optional<Ip> source, const Net& from) {
            if (source && source->family != target.family) return;
            const bool is_neighbour = from.config.id == net.config.id;
            for (auto& element : allowed_elements({.address = target,
                                                   .source = source,
                                                   .source_link = from.bridge.link,
                                                   .is_neighbour = is_neighbour,
                                                   .ports = peer.ports}))
                out.insert(std::move(element));
        };
        for (const AllowedPeer& peer : *policy) {
            for (const Net& from : std::views::values(nets)) {
                if (!from.is_bridge()) continue;
                if (peer.kind == AllowedPeer::Kind::network) {
                    if (from.config.name == peer.name || from.config.id == peer.name) allow(peer, std::nullopt, from);
                    continue;
                }
                for (const auto& [id, joined] : from.joined) {
                    if (id == container_id || !is_peer(peer, id)) continue;
                    for (const Ip& source : addresses_of(joined)) allow(peer, source, from);
                }
            }
        }
    }
}

/// With `mutex` held: a link of the one opens the exposed ports of the other. Without a port there is nothing to open.
bool Networks::State::is_linked(const Net& net, const std::string& source, const std::string& target) const {
    const auto identity = identities.find(source);
    const auto other = identities.find(target);
    return !net.bridge.icc && net.config.name == "bridge" && identity != identities.end() && other != identities.end() &&
           net.joined.contains(target) && std::ranges::count(identity->second.links, target) != 0 && !other->second.exposed.empty();
}

/// With `mutex` held: what the links of a container open on a bridge whose containers do not reach each other.
void Networks::State::add_links(const Net& net, const std::string& container_id, std::set<linux::NftElement>& out) const {
    const auto identity = identities.find(container_id);
    if (identity == identities.end()) return;
    for (const std::string& id : identity->second.links) {
        if (!is_linked(net, container_id, id)) continue;
        for (const Ip& address : addresses_of(net.joined.at(id))) {
            if (address.is_v4()) out.insert(linked_element(address));
            for (const Ip& source : addresses_of(net.joined.at(container_id))) {
                if (source.family != address.family) continue;
                for (auto& element : allowed_elements({.address = address,
                                                       .source = source,
                                                       .source_link = net.bridge.link,
                                                       .is_neighbour = true,
                                                       .ports = identities.at(id).exposed}))
                    out.insert(std::move(element));
            }
        }
    }
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
/// policies say now. No moment is without either.
void Networks::State::change_rules(RuleChange change, std::string_view doing) {
    const std::lock_guard one_at_a_time(policy_mutex);
    {
        const std::lock_guard lock(mutex);
        if (!with_policy.empty() || !policy_elements.empty()) {
            std::set<linux::NftElement> now;
            for (const Net& net : std::views::values(nets)) {
                if (!net.is_bridge()) continue;
                for (const std::string& container_id : std::views::keys(net.joined)) {
                    add_policy(net, container_id, now);
                    add_links(net, container_id, now);
                }
            }
            std::ranges::set_difference(policy_elements, now, std::back_inserter(change.removed));
            std::ranges::set_difference(now, policy_elements, std::back_inserter(change.added));
            policy_elements = std::move(now);
        }
    }
    if (!change.removed.empty() || !change.added.empty()) firewall.change(change.removed, change.added, doing);
}

void Networks::State::refresh_policies() { change_rules({}, "network policies"); }

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
    state.refresh_policies();
}

}  // namespace grua::network
