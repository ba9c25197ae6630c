// What is done behind: the sweep at the start, links that have ended, rules that somebody took away, the host's changes.
#include "base/error.hpp"
#include "base/log.hpp"
#include "linux/netns.hpp"
#include "network/networks_impl.hpp"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <algorithm>
#include <ranges>
#include <thread>

namespace grua::network {

using linux::Ip;

namespace {

constexpr auto reap_retry = std::chrono::seconds(5);
constexpr auto gathering = std::chrono::milliseconds(10);
constexpr auto host_settles = std::chrono::milliseconds(500);
constexpr std::uint32_t doomed_group = 0x67727561;  // Links of this group are deleted in one request.

/// "grua:<bridge>:<container ID>:<network ID>" without the prefix.
struct Owner {
    std::string container_id;
    std::string network_id;
};

std::optional<Owner> parse_owner(std::string_view text) {
    const auto colon = text.find(':');
    if (colon == std::string_view::npos || text.starts_with("network:")) return std::nullopt;
    return Owner{std::string(text.substr(0, colon)), std::string(text.substr(colon + 1))};
}

}  // namespace

void Networks::State::recover(std::vector<Attachment> live) {
    const std::vector<linux::Link> present = [&] {
        const MutexLock lock(netlink_mutex);
        return netlink.links();
    }();
    std::map<std::pair<std::string, std::string>, std::string> links;  // By container and network.
    std::set<std::string> ifbs;
    std::vector<std::string> limited;  // Networks.
    std::vector<std::string> nobodys;
    bool guarded = false;
    Elements all;
    {
        const MutexLock lock(mutex);
        for (const linux::Link& link : present) {
            if (!link.alias.starts_with(alias_prefix)) continue;
            const std::string_view rest = std::string_view(link.alias).substr(alias_prefix.size());
            if (rest == "loop") continue;
            if (rest.starts_with("network:")) {
                if (!nets.contains(std::string(rest.substr(8)))) nobodys.push_back(link.name);
            } else if (link.kind == "ifb") {
                ifbs.insert(link.name);
            } else if (const auto owner = parse_owner(rest)) {
                links[{owner->container_id, owner->network_id}] = link.name;
            } else {
                nobodys.push_back(link.name);
            }
        }
        for (const Attachment& each : live) {
            for (const Endpoint& endpoint : each.endpoints) {
                const auto net = nets.find(endpoint.network_id);
                if (net == nets.end()) {
                    log::warn("container {} runs on network {}, which is not known", each.request.container_id, endpoint.network);
                    continue;
                }
                Joined joined{.endpoint = endpoint, .link = "", .elements = {}};
                joined.endpoint.network = net->second.config.name;
                for (const EndpointRequest& request : each.request.endpoints) {
                    if (request.network != endpoint.network) continue;
                    joined.names = request.names;
                    joined.links = request.links;
                    for (const std::string& text : request.link_local_ips)
                        if (const auto address = Ip::parse(text)) joined.link_local.push_back(*address);
                }
                for (const auto& [text, pools] :
                     {std::pair{&endpoint.ip, &net->second.pools4}, std::pair{&endpoint.ipv6, &net->second.pools6}}) {
                    const auto address = Ip::parse(*text);
                    if (!address) continue;
                    const auto reserved = [&](AddressPool& pool) { return pool.reserve(*address) == AddressPool::Reserved::yes; };
                    if (std::ranges::none_of(*pools, reserved))
                        log::warn("container {} runs with address {}, which is not free in network {}", each.request.container_id, *text,
                                  net->second.config.name);
                }
                const auto link = links.extract({each.request.container_id, endpoint.network_id});
                if (!link.empty()) joined.link = link.mapped();
                if (link.empty() && net->second.is_bridge())
                    log::warn("container {} has no link on network {}", each.request.container_id, net->second.config.name);
                joined.share = net->second.take_share();
                joined.elements = net->second.elements_of(joined);
                ifbs.erase(ifb_of_link(joined.link));
                net->second.joined[each.request.container_id] = std::move(joined);
            }
            identities[each.request.container_id] = identity_of(each.request);
            identities[each.request.container_id].netns = duplicate(each.netns);
            note_policy(each.request.container_id, identities[each.request.container_id].has_rules());
            guarded = guarded || std::ranges::any_of(each.ports, [&](const PublishedPort& port) GRUA_REQUIRES(mutex) {
                          return is_guarded(each.request.container_id, port);
                      });
            if (!each.ports.empty()) published[each.request.container_id].ports = each.ports;
            identities[each.request.container_id].had_udp = has_udp(each.ports);
            for (const PublishedPort& port : each.ports) host_ports.restore(port);
        }
        for (const auto& [owner, link] : links) {
            log::info("link {} belongs to no running container: {}", link, owner.first);
            nobodys.push_back(link);
        }
        nobodys.insert(nobodys.end(), ifbs.begin(), ifbs.end());
        for (std::string& each : nobodys)
            dying.push_back({.network_id = "", .link = std::move(each), .addresses = {}, .elements = {}, .due = Clock::now()});
        for (const Net& net : std::views::values(nets)) {
            if (net.bridge.limits.any()) limited.push_back(net.config.id);
            all.insert(all.end(), net.elements.begin(), net.elements.end());
            for (const Joined& joined : std::views::values(net.joined))
                all.insert(all.end(), joined.elements.begin(), joined.elements.end());
        }
        for (auto& [container_id, of_container] : published) {
            of_container.elements = port_rules(container_id, of_container);
            all.insert(all.end(), of_container.elements.begin(), of_container.elements.end());
        }
    }
    if (guarded) prepare_guard();
    firewall.start(all);
    refresh_policies();
    for (const std::string& each : limited) limit_network(each);
    const auto update = [this](const Attachment& of, int netns, ResolverSockets sockets) {
        try {
            update_names(of.request.container_id, netns, std::move(sockets));
        } catch (const Error& error) {
            log::warn("container {}: its names: {}", of.request.container_id, error.what());
        }
    };
    // Questions may be waiting already, for the names of any of them.
    for (const Attachment& each : live) update(each, -1, {});
    for (Attachment& each : live)
        if (each.netns) update(each, each.netns.get(), std::move(each.resolver));
    ::eventfd_write(wake.get(), 1);
}

/// Several changes come together, and the next may put right what one did.
void Networks::State::look_at_host(const linux::NetlinkWatch::Changes& changes) {
    const bool has_other_mtu = std::ranges::any_of(changes.mtus, [&](const auto& each) { return each.first == uplink.index; });
    if (changes.routes || has_other_mtu) look_due = Clock::now() + host_settles;
}

/// Networks that chose no MTU have that of the uplink, and so have the containers on them.
void Networks::State::follow_mtu() {
    const Uplink before = uplink;
    {
        const MutexLock lock(netlink_mutex);
        uplink = find_uplink(netlink);
    }
    if (options.mtu != 0 || uplink.mtu == before.mtu) return;
    std::set<std::string> links;  // Of the host: bridges and containers' links.
    struct Inside {
        std::shared_ptr<Fd> netns;
        std::string interface;
    };
    std::vector<Inside> interfaces;
    {
        const MutexLock lock(mutex);
        for (Net& net : std::views::values(nets)) {
            const bool is_default = net.config.name == "bridge";
            if (!net.is_bridge() || !net.ours || (net.bridge.mtu != 0 && !is_default) || net.mtu == uplink.mtu) continue;
            net.mtu = uplink.mtu;
            if (is_default) net.config.options["com.docker.network.driver.mtu"] = fmt::format("{}", net.mtu);
            links.insert(net.bridge.link);
            for (const auto& [container_id, joined] : net.joined) {
                if (joined.link.empty()) continue;
                links.insert(joined.link);
                const auto identity = identities.find(container_id);
                if (identity != identities.end() && identity->second.netns)
                    interfaces.push_back({.netns = identity->second.netns, .interface = joined.endpoint.interface});
            }
        }
    }
    log::info("the uplink's MTU is {}: {} links and {} containers' interfaces follow", uplink.mtu, links.size(), interfaces.size());
    const auto run = [](linux::Netlink& where, const linux::NetlinkBatch& batch) {
        try {
            where.run(batch);
        } catch (const Error& error) {
            // A container may end meanwhile; the others' requests were run.
            if (error.os_error() != ENODEV) log::warn("the uplink's MTU: {}", error.what());
        }
    };
    {
        linux::NetlinkBatch batch;
        for (const std::string& each : links) batch.change_link(each, {.mtu = uplink.mtu});
        const MutexLock lock(netlink_mutex);
        run(netlink, batch);
    }
    for (const Inside& each : interfaces) {
        linux::NetlinkBatch batch;
        batch.change_link(each.interface, {.mtu = uplink.mtu});
        const linux::NetnsVisit visit(each.netns->get());
        linux::Netlink inside;
        run(inside, batch);
    }
}

/// A route of the host that a network's subnet meets since it was made: one of them is not reached.
void Networks::State::check_routes() {
    std::vector<linux::IpPrefix> used;
    {
        const MutexLock lock(netlink_mutex);
        used = used_by_host(netlink, look(netlink), "grua:" + options.bridge);
    }
    std::set<std::pair<std::string, std::string>> now;
    {
        const MutexLock lock(mutex);
        for (const Net& net : std::views::values(nets)) {
            if (!net.is_bridge() || !net.ours) continue;
            for (const auto* pools : {&net.pools4, &net.pools6})
                for (const AddressPool& pool : *pools)
                    for (const linux::IpPrefix& each : used)
                        if (pool.subnet().overlaps(each)) now.emplace(net.config.name, each.text());
        }
    }
    for (const auto& each : now)
        if (!collisions.contains(each))
            log::warn("network {}: its subnet meets {}, which this host uses now: one of the two is not reached", each.first, each.second);
    collisions = std::move(now);
}

/// Links that are due and still there are deleted together; then their addresses are free.
void Networks::State::reap(Clock::time_point until) {
    const MutexLock one_at_a_time(reap_mutex);
    std::vector<Dying> due;
    {
        const MutexLock lock(mutex);
        const auto lives = [&](const Dying& each) { return each.due > until; };
        if (std::ranges::all_of(dying, lives)) return;
        const auto first_due = std::partition(dying.begin(), dying.end(), lives);
        due.assign(std::make_move_iterator(first_due), std::make_move_iterator(dying.end()));
        dying.erase(first_due, dying.end());
    }
    std::vector<SharedRate> shares;
    {
        const MutexLock lock(mutex);
        for (const Dying& each : due) {
            const auto net = nets.find(each.network_id);
            if (each.share == 0 || net == nets.end()) continue;
            shares.push_back(
                {.network_id = each.network_id, .index = net->second.index, .limits = net->second.bridge.limits, .share = each.share});
        }
    }
    Elements elements;
    try {
        {
            const MutexLock lock(netlink_mutex);
            linux::NetlinkBatch doom;
            for (const Dying& each : due) {
                if (each.link.empty()) continue;
                // Asked one by one: a list of all takes longer with each container, and starts wait for it.
                for (const std::string& link : {each.link, ifb_of_link(each.link)})
                    if (!link.empty() && netlink.link(link)) doom.change_link(link, {.group = doomed_group});
            }
            if (!doom.empty()) {
                // One that went meanwhile fails with ENODEV, and an empty group with it: then nothing is left to delete.
                linux::NetlinkBatch remove;
                remove.delete_group(doomed_group);
                for (const auto* batch : {&doom, &remove}) {
                    try {
                        netlink.run(*batch);
                    } catch (const Error& error) {
                        if (error.os_error() != ENODEV) throw;
                    }
                }
            }
        }
        for (const SharedRate& each : shares) {
            // It is not there where the limit has changed meanwhile.
            try {
                const MutexLock lock(netlink_mutex);
                change_share(each, false);
            } catch (const Error& error) {
                log::debug("{}", error.what());
            }
        }
        for (const Dying& each : due) elements.insert(elements.end(), each.elements.begin(), each.elements.end());
        firewall.change(elements, {}, "containers that have ended");
    } catch (const Error& error) {
        log::error("remove the links of ended containers: {}", error.what());
        const MutexLock lock(mutex);
        for (Dying& each : due) {
            each.due = Clock::now() + reap_retry;
            dying.push_back(std::move(each));
        }
        return;
    }
    const MutexLock lock(mutex);
    for (const Dying& each : due) {
        const auto net = nets.find(each.network_id);
        if (net == nets.end()) continue;
        net->second.shares.erase(each.share);
        for (auto* pools : {&net->second.pools4, &net->second.pools6})
            for (AddressPool& pool : *pools)
                for (const Ip& address : each.addresses) pool.release(address);
    }
}

int Networks::State::until_next_work() {
    const MutexLock lock(mutex);
    auto next = look_due.value_or(Clock::time_point::max());
    if (!dying.empty()) next = std::min(next, std::ranges::min(dying, {}, &Dying::due).due);
    if (next == Clock::time_point::max()) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now()).count();
    return static_cast<int>(std::max<std::int64_t>(left, 0));
}

void Networks::State::watch(const std::stop_token& stop) {
    ::pthread_setname_np(::pthread_self(), "network-watch");
    look_due = Clock::now();
    while (!stop.stop_requested()) {
        pollfd fds[] = {
            {.fd = wake.get(), .events = POLLIN}, {.fd = firewall.watched(), .events = POLLIN}, {.fd = host_watch.fd(), .events = POLLIN}};
        if (::poll(fds, std::size(fds), until_next_work()) < 0 && errno != EINTR) {
            log::error("network: poll: errno {}", errno);
            return;
        }
        if (stop.stop_requested()) break;
        // A start makes the kernel tell of a dozen changes: they are read together, not one by one.
        if (fds[1].revents != 0 || fds[2].revents != 0) std::this_thread::sleep_for(gathering);
        eventfd_t woken = 0;
        if (fds[0].revents != 0) ::eventfd_read(wake.get(), &woken);
        const auto attempt = [](const auto& work) {
            try {
                work();
            } catch (const Error& error) {
                log::error("network: {}", error.what());
            }
        };
        attempt([&] {
            if (fds[1].revents != 0) firewall.repair();
            if (fds[2].revents != 0) look_at_host(host_watch.read());
            if (look_due && *look_due <= Clock::now()) {
                look_due.reset();
                follow_mtu();
                check_routes();
            }
        });
        reap(Clock::now());
        attempt([&] { firewall.drop_unneeded(); });
    }
    // Where a connection of its is still being closed the kernel keeps a namespace, and its links, for minutes after the container's end.
    reap(Clock::time_point::max());
}

void Networks::State::end_watch() {
    if (!watcher.joinable()) return;
    watcher.request_stop();
    ::eventfd_write(wake.get(), 1);
    watcher.join();
}

}  // namespace grua::network
