// What the resolver knows of a container: its names on its networks, and what it may ask.
#include "network/networks_impl.hpp"

#include <algorithm>
#include <ranges>

namespace grua::network {

void Networks::rename(const std::string& container_id, const std::string& name,
                      const std::map<std::string, std::vector<std::string>>& names) {
    {
        const MutexLock lock(state_->mutex);
        const auto identity = state_->identities.find(container_id);
        if (identity == state_->identities.end()) return;
        identity->second.name = name;
        for (Net& net : std::views::values(state_->nets)) {
            const auto joined = net.joined.find(container_id);
            const auto given = names.find(net.config.name);
            if (joined != net.joined.end() && given != names.end()) joined->second.names = given->second;
        }
    }
    state_->update_names(container_id, -1);
    state_->refresh_policies({container_id});
}

/// After its networks have changed. `netns` is its network namespace; without one (-1) a container that is not served stays so.
void Networks::State::update_names(const std::string& container_id, int netns, ResolverSockets sockets) {
    std::vector<NamedEndpoint> names;
    ResolverView view;
    bool serve = false;
    bool change = false;
    {
        const MutexLock lock(mutex);
        const auto identity = identities.find(container_id);
        if (identity == identities.end()) return;
        view.upstreams = identity->second.nameservers;
        view.forward = false;
        std::vector<const Net*> networks;
        for (const Net& net : std::views::values(nets)) {
            const auto found = net.joined.find(container_id);
            if (found == net.joined.end()) continue;
            view.forward = view.forward || !net.config.internal;
            const Joined& joined = found->second;
            // The default bridge has no names, as with Docker, except for the host. What has no name itself is not found by one.
            const bool is_default = net.config.name == "bridge";
            if (is_default && (!options.host_dns || identity->second.name.empty())) continue;
            if (!is_default) networks.push_back(&net);
            for (const auto& [alias, name] : joined.links) view.links[to_lower(alias)] = name;
            names.push_back({.network_id = net.config.id,
                             .network_name = net.config.name,
                             .names = is_default ? std::vector{identity->second.name, container_id.substr(0, 12)} : joined.names,
                             .hostname = identity->second.name,
                             .ipv4 = joined.endpoint.ip,
                             .ipv6 = joined.endpoint.ipv6});
        }
        std::ranges::sort(networks, [&](const Net* one, const Net* other) {
            return comes_first(one->joined.at(container_id).endpoint, other->joined.at(container_id).endpoint);
        });
        for (const Net* each : networks) view.networks.push_back(each->config.id);
        change = identity->second.is_served;
        serve = !change && !networks.empty() && netns >= 0;
        if (serve) identity->second.is_served = true;
    }
    for (NamedEndpoint& each : names) resolver.set_names(container_id, std::move(each));
    if (change) resolver.change(container_id, std::move(view));
    if (!serve) return;
    try {
        resolver.serve(container_id, netns, std::move(view), std::move(sockets));
    } catch (...) {
        const MutexLock lock(mutex);
        if (const auto identity = identities.find(container_id); identity != identities.end()) identity->second.is_served = false;
        throw;
    }
}

}  // namespace grua::network
