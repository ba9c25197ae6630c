#include "base/error.hpp"
#include "base/fault_point.hpp"
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "linux/netns.hpp"
#include "linux/sysctls.hpp"
#include "network/networks_impl.hpp"

#include <fcntl.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sys/eventfd.h>
#include <algorithm>
#include <array>
#include <ranges>
#include <thread>

namespace grua::network {

using linux::Ip;
using linux::IpPrefix;
using linux::Mac;

namespace {

// A namespace is taken apart by the kernel about 40 ms after its last process; this long nobody is asked about it.
constexpr auto reap_delay = std::chrono::seconds(1);
constexpr std::size_t crowd = 32;  // Containers on a network from which on the next ones' sandboxes join its bridge ahead.

void check_interface_name(const std::string& name) {
    const auto allowed = [](char c) { return c > ' ' && c != '/' && c != ':' && c < 127; };
    if (name.size() >= IFNAMSIZ || name == "." || name == ".." || name == "lo" || !std::ranges::all_of(name, allowed))
        fail(ErrorKind::invalid_argument, "interface name \"{}\": up to 15 characters without blanks, '/' and ':'", name);
}

/// "net.ipv4.conf.IFNAME.log_martians=1" as the path below /proc/sys and the value.
std::pair<std::string, std::string> interface_sysctl(const std::string& text, const std::string& interface) {
    const auto equals = text.find('=');
    const auto parts = split(std::string_view(text).substr(0, equals), '.');
    const auto plain = [](const std::string& part) { return !part.empty() && part != ".." && part != "." && !part.contains('/'); };
    const bool good = equals != std::string::npos && parts.size() == 5 && parts[0] == "net" &&
                      (parts[1] == "ipv4" || parts[1] == "ipv6" || parts[1] == "mpls") && (parts[3] == "IFNAME" || parts[3] == "ifname") &&
                      std::ranges::all_of(parts, plain);
    if (!good) {
        fail(ErrorKind::invalid_argument,
             "unrecognised network interface sysctl '{}'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', "
             "'ipv6' or 'mpls'",
             text);
    }
    return {fmt::format("net/{}/{}/{}/{}", parts[1], parts[2], interface, parts[4]), text.substr(equals + 1)};
}

/// br_netfilter is there and hands bridged packets to the rules.
bool bridges_translate() {
    try {
        return trim(read_file("/proc/sys/net/bridge/bridge-nf-call-iptables")) == "1";
    } catch (const Error&) {
        return false;
    }
}

std::optional<Ip> parse_ip(const std::string& text, Ip::Family family) {
    if (text.empty()) return std::nullopt;
    const auto address = Ip::parse(text);
    if (!address || address->family != family)
        fail(ErrorKind::invalid_argument, "invalid {} address: {}", family == Ip::Family::v4 ? "IPv4" : "IPv6", text);
    return address;
}

Ip give(std::vector<AddressPool>& pools, const std::optional<Ip>& wanted, const NetworkConfig& config) {
    const auto subnets = [&] {
        std::vector<std::string> out;
        for (const AddressPool& each : pools) out.push_back(each.subnet().text());
        return join(out, ", ");
    };
    if (wanted) {
        for (AddressPool& pool : pools) {
            if (!pool.subnet().contains(*wanted)) continue;
            if (pool.reserve(*wanted) == AddressPool::Reserved::yes) return *wanted;
            fail(ErrorKind::forbidden, "Address already in use");
        }
        fail(ErrorKind::invalid_argument, "no configured subnet or ip-range contain the IP address {} (network {} has {})", wanted->text(),
             config.name, subnets());
    }
    for (AddressPool& pool : pools)
        if (const auto address = pool.allocate()) return *address;
    fail(ErrorKind::unavailable, "no available IPv{} addresses on this network's address pools: {} ({})",
         pools.front().subnet().address.is_v4() ? 4 : 6, config.name, config.id);
}

std::string text_of(const std::optional<Ip>& address) { return address ? address->text() : ""; }

}  // namespace

bool comes_first(const Endpoint& one, const Endpoint& other) {
    const auto both = [](const Endpoint& endpoint) { return !endpoint.gateway.empty() && !endpoint.ipv6_gateway.empty(); };
    if (one.gw_priority != other.gw_priority) return one.gw_priority > other.gw_priority;
    return both(one) != both(other) ? both(one) : one.network < other.network;
}

/// One endpoint on its way: what is reserved, and what it needs to be wired.
struct Networks::State::Work {
    std::string network_id;
    std::string driver;
    Endpoint endpoint;
    std::vector<Ip> addresses;
    std::vector<IpPrefix> prefixes;
    std::vector<std::pair<std::string, std::string>> sysctls;
    Mac mac;
    BridgeSettings bridge;
    ChildSettings child;
    int index = 0;
    unsigned mtu = 0;
    bool has_ipv6 = false;
    bool is_crowded = false;
    std::uint16_t share = 0;
    std::string link;
    Elements elements;
};

/// Addresses are taken and the container is on the network, without a link yet.
Networks::State::Work Networks::State::reserve(const std::string& container_id, const EndpointRequest& request,
                                               const std::set<std::string>& interfaces) {
    fault_point("network:reserve");
    Net& net = find_net(request.network);
    if (net.config.config_only) fail(ErrorKind::forbidden, "configuration-only network {} cannot be joined", net.config.name);
    if (!net.is_bridge() && !net.is_child())
        fail(ErrorKind::forbidden, "network {}: containers join it when they are created", net.config.name);
    if (net.index == 0) fail(ErrorKind::unavailable, "network {} could not be made on this host: see gruad's log", net.config.name);
    if (net.joined.contains(container_id))
        fail(ErrorKind::conflict, "endpoint with name {} already exists in network {}", container_id, net.config.name);
    const auto mac = Mac::parse(request.mac);
    if (!request.mac.empty() && !mac) fail(ErrorKind::invalid_argument, "invalid MAC address: {}", request.mac);
    if (!request.interface.empty()) check_interface_name(request.interface);
    if (interfaces.contains(request.interface))
        fail(ErrorKind::invalid_argument, "error generating an interface name: interface \"{}\" is there already", request.interface);
    if (net.is_child() && net.child.passthru && !net.joined.empty())
        fail(ErrorKind::forbidden, "macvlan passthru network {} takes one container", net.config.name);

    Work out{.network_id = net.config.id,
             .driver = net.config.driver,
             .bridge = net.bridge,
             .child = net.child,
             .index = net.index,
             .mtu = net.mtu,
             .has_ipv6 = net.config.has_ipv6(),
             .is_crowded = net.joined.size() >= crowd};
    for (const std::string& text : request.link_local_ips)
        if (!Ip::parse(text)) fail(ErrorKind::invalid_argument, "invalid link-local IP address: {}", text);
    const auto wanted4 = parse_ip(request.ip, Ip::Family::v4);
    const auto wanted6 = parse_ip(request.ipv6, Ip::Family::v6);
    std::optional<Ip> ip;
    std::optional<Ip> ipv6;
    if (wanted4 && net.pools4.empty()) fail(ErrorKind::invalid_argument, "network {} has no IPv4: --ip {}", net.config.name, request.ip);
    if (wanted6 && net.pools6.empty()) fail(ErrorKind::invalid_argument, "network {} has no IPv6: --ip6 {}", net.config.name, request.ipv6);
    if (!net.pools4.empty()) ip = give(net.pools4, wanted4, net.config);
    if (!net.pools6.empty()) {
        try {
            ipv6 = give(net.pools6, wanted6, net.config);
        } catch (...) {
            for (AddressPool& pool : net.pools4) pool.release(*ip);
            throw;
        }
    }
    Endpoint& endpoint = out.endpoint;
    endpoint.endpoint_id = random_id();
    endpoint.network_id = net.config.id;
    endpoint.network = net.config.name;
    endpoint.gw_priority = request.gw_priority;
    endpoint.ip = text_of(ip);
    endpoint.ipv6 = text_of(ipv6);
    for (const auto& [address, length] : {std::pair{ip, &endpoint.prefix_length}, std::pair{ipv6, &endpoint.ipv6_prefix_length}}) {
        if (!address) continue;
        out.addresses.push_back(*address);
        for (const auto* pools : {&net.pools4, &net.pools6})
            for (const AddressPool& pool : *pools)
                if (pool.subnet().contains(*address)) *length = pool.subnet().length;
        out.prefixes.push_back({*address, *length});
        // The gateway of its own subnet, or the first.
        auto gateway = net.gateway(address->family);
        for (const IpPrefix& each : net.gateways)
            if (each.contains(*address)) gateway = each;
        const GatewayMode mode = address->is_v4() ? net.bridge.mode4 : net.bridge.mode6;
        const bool leads_out = gateway && !net.config.internal && mode != GatewayMode::isolated && !net.child.layer3;
        const auto router = std::ranges::find(net.routers, address->family, &Ip::family);
        if (leads_out)
            (address->is_v4() ? endpoint.gateway : endpoint.ipv6_gateway) =
                (router == net.routers.end() ? gateway->address : *router).text();
    }
    for (const std::string& text : request.link_local_ips) {
        const auto address = Ip::parse(text);
        out.addresses.push_back(*address);
        out.prefixes.push_back({*address, address->is_v4() ? 16U : 64U});
    }
    out.mac = mac ? *mac : ip ? linux::mac_of(*ip) : ipv6 ? linux::mac_of(*ipv6) : Mac::random();
    endpoint.mac = out.mac.text();
    endpoint.interface = request.interface;
    const std::string& prefix = net.is_bridge() ? net.bridge.interface_prefix : net.child.interface_prefix;
    for (unsigned number = 0; endpoint.interface.empty(); ++number) {
        std::string candidate = fmt::format("{}{}", prefix, number);
        if (!interfaces.contains(candidate)) endpoint.interface = std::move(candidate);
    }
    try {
        for (const std::string& each : request.sysctls) out.sysctls.push_back(interface_sysctl(each, endpoint.interface));
    } catch (...) {
        for (auto* pools : {&net.pools4, &net.pools6})
            for (AddressPool& pool : *pools)
                for (const Ip& each : out.addresses) pool.release(each);
        throw;
    }
    out.share = net.take_share();
    Joined joined{.endpoint = endpoint, .link = "", .elements = {}, .names = request.names, .links = request.links, .share = out.share};
    for (const std::string& each : request.link_local_ips) joined.link_local.push_back(*Ip::parse(each));
    net.joined[container_id] = std::move(joined);
    return out;
}

std::shared_ptr<Fd> duplicate(const Fd& from) { return from ? std::make_shared<Fd>(::fcntl(from.get(), F_DUPFD_CLOEXEC, 0)) : nullptr; }

/// To a link that shares its parent: the kernel refuses an address that another one has, also where that belongs to a container
/// that has just ended and whose namespace it takes down behind.
void add_shared_address(linux::Netlink& inside, int index, const IpPrefix& address) {
    constexpr auto patience = std::chrono::seconds(3);
    constexpr auto pause = std::chrono::milliseconds(20);
    const auto end = Clock::now() + patience;
    for (;;) {
        try {
            linux::NetlinkBatch add;
            add.add_address(index, address);
            return inside.run(add);
        } catch (const Error& error) {
            if (error.os_error() != EADDRINUSE || Clock::now() > end) throw;
            std::this_thread::sleep_for(pause);
        }
    }
}

/// The link is known, and what the firewall has of it; the container's limits.
RateLimits Networks::State::note_link(Work& work, const std::string& container_id) {
    const MutexLock lock(mutex);
    const Net& net = nets.at(work.network_id);
    Joined joined = net.joined.at(container_id);
    joined.link = work.link;
    work.elements = net.elements_of(joined);
    const auto identity = identities.find(container_id);
    return identity == identities.end() ? RateLimits{} : identity->second.limits;
}

/// Links, addresses and sysctls of one endpoint: one batch outside, one inside. `ready` is the pool's sandbox, where its
/// eth0 is to be this endpoint's interface.
void Networks::State::wire(Work& work, const std::string& container_id, int netns, linux::Netlink& inside, const ReadySandbox* ready) {
    const std::string& name = work.endpoint.interface;
    const std::string alias = alias_prefix + container_id + ":" + work.network_id;
    linux::NetlinkBatch outside;
    const auto join_bridge = [&] {
        // The host's end is a port first, so that the container's first packet finds its way.
        linux::LinkChange port{.master = work.index, .alias = alias};
        if (ready && ready->mtu != work.mtu) port.mtu = work.mtu;
        outside.change_link(work.link, port);
        // Where br_netfilter translates on the bridge, a container's way to its own published port leaves by the port it came by.
        if (bridges_translate()) outside.change_link(work.link, {.hairpin = true});
        if (!ready) outside.change_link(work.link, {.up = true});
    };
    if (work.driver == "bridge") {
        // "veth…", as DHCP clients and network managers are told to leave alone; whose it is its alias says.
        work.link = ready ? ready->link : "veth" + random_hex(5);
        if (!ready) outside.create_veth({.name = work.link, .peer_name = name, .peer_netns = netns, .mtu = work.mtu});
        join_bridge();
    } else {
        const MutexLock lock(mutex);
        check_limitable(container_id, nets.at(work.network_id));
        outside.create_child({.kind = work.driver,
                              .name = name,
                              .parent = work.index,
                              .netns = netns,
                              .mode = work.child.mode,
                              .flags = work.child.flags,
                              .mtu = work.mtu,
                              .mac = work.driver == "macvlan" ? std::optional(work.mac) : std::nullopt});
    }
    for (bool again = false;; again = true) {
        try {
            const MutexLock lock(netlink_mutex);
            netlink.run(outside);
            break;
        } catch (const Error& error) {
            if (error.os_error() != EXFULL) throw;
            // Sandboxes that wait for a container may hold ports of it.
            if (again || !sandboxes->leave(work.index))
                fail(ErrorKind::unavailable, "network {} is full: a Linux bridge takes 1,023 links", work.endpoint.network);
            outside = {};
            join_bridge();
        }
    }
    if (!work.link.empty()) {
        if (!ready) set_ipv6(linux::Sysctls(), work.link, false);
        const RateLimits limits = note_link(work, container_id);
        limit_endpoint(work.link, alias, {}, limits);
        if (work.share != 0) {
            const MutexLock lock(netlink_mutex);
            change_share({.network_id = work.network_id, .index = work.index, .limits = work.bridge.limits, .share = work.share}, true);
        }
    }

    int index = ready ? ready->eth0 : 0;
    if (index == 0) {
        const auto made = inside.link(name);
        if (!made) fail(ErrorKind::system, "{} vanished", name);
        index = made->index;
    }
    linux::NetlinkBatch setup;
    if (ready && name != "eth0") {
        setup.change_link("eth0", {.up = false});
        setup.rename_link(index, name);
    }
    linux::LinkChange change;
    if (work.driver != "ipvlan") change.mac = work.mac;
    if (ready && ready->mtu != work.mtu) change.mtu = work.mtu;
    if (change.mac || change.mtu) setup.change_link(name, change);
    if (!ready || name != "eth0") setup.change_link(name, {.up = true});
    if (!ready || work.has_ipv6 || !work.sysctls.empty() || name != "eth0") {
        // The interface may be renamed only now.
        if (ready && name != "eth0") inside.run(std::exchange(setup, {}));
        const linux::NetnsVisit visit(netns);
        const linux::Sysctls kernel;
        set_ipv6(kernel, name, work.has_ipv6);
        for (const auto& [path, value] : work.sysctls) while_doing("endpoint sysctl", [&] { kernel.write(path, value); });
    }
    if (work.driver != "bridge") inside.run(std::exchange(setup, {}));
    for (const IpPrefix& each : work.prefixes) {
        if (work.driver == "bridge") {
            setup.add_address(index, each);
        } else {
            add_shared_address(inside, index, each);
        }
    }
    if (work.child.layer3)
        for (const Ip& each : work.addresses) setup.set_default_route_on_link(each.family, index);
    inside.run(setup);
    if (work.driver == "ipvlan") {
        if (const auto made = inside.link(name)) work.endpoint.mac = made->mac.text();
    }
}

/// The default route of each family: through the first endpoint that leads out.
void Networks::State::set_routes(const std::vector<Endpoint>& endpoints, linux::Netlink& inside) {
    linux::NetlinkBatch batch;
    for (const auto member : {&Endpoint::gateway, &Endpoint::ipv6_gateway}) {
        const Endpoint* best = nullptr;
        for (const Endpoint& each : endpoints) {
            if ((each.*member).empty()) continue;
            if (!best || comes_first(each, *best)) best = &each;
        }
        if (!best) continue;
        const auto link = inside.link(best->interface);
        if (link) batch.set_default_route(*Ip::parse(best->*member), link->index);
    }
    if (!batch.empty()) inside.run(batch);
}

/// The connection is over, its addresses come back when its link is gone.
void Networks::State::end_joined(const std::string& container_id, Net& net, Clock::duration delay) {
    const auto found = net.joined.find(container_id);
    if (found == net.joined.end()) return;
    Dying over{.network_id = net.config.id,
               .link = found->second.link,
               .elements = std::move(found->second.elements),
               .share = found->second.share,
               .due = Clock::now() + delay};
    for (const std::string* text : {&found->second.endpoint.ip, &found->second.endpoint.ipv6})
        if (const auto address = Ip::parse(*text)) over.addresses.push_back(*address);
    dying.push_back(std::move(over));
    net.joined.erase(found);
    if (dying.size() == 1) ::eventfd_write(wake.get(), 1);
}

/// How far they have come, so that their end takes all of it away.
void Networks::State::note_works(const std::string& container_id, const std::vector<Work>& works) {
    for (const Work& work : works) {
        const auto net = nets.find(work.network_id);
        if (net == nets.end()) continue;
        const auto joined = net->second.joined.find(container_id);
        if (joined == net->second.joined.end()) continue;
        joined->second.endpoint = work.endpoint;
        joined->second.link = work.link;
        joined->second.elements = work.elements;
    }
}

void Networks::State::undo(const std::string& container_id, const std::vector<Work>& works) {
    const MutexLock lock(mutex);
    note_works(container_id, works);
    for (const Work& work : works)
        if (const auto net = nets.find(work.network_id); net != nets.end()) end_joined(container_id, net->second, {});
}

/// Addresses may be waiting for their links' end, those of the container's last run among them: what cannot be had is asked for again when
/// these are gone.
void Networks::State::reserve_or_reap(const std::string& container_id, std::vector<Work>& works, const std::function<void()>& reserve_all) {
    const auto once = [&] {
        try {
            reserve_all();
        } catch (...) {
            undo(container_id, works);
            works.clear();
            throw;
        }
    };
    try {
        once();
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::unavailable && error.kind() != ErrorKind::forbidden) throw;
        reap(Clock::time_point::max());
        once();
    }
}

Sandbox Networks::State::attach(const SandboxRequest& request) {
    const std::string& container_id = request.container_id;
    const std::vector<EndpointRequest>& requests = request.endpoints;
    std::vector<Work> works;
    const auto reserve_all = [&] {
        const MutexLock lock(mutex);
        std::set<std::string> interfaces;
        for (const EndpointRequest& each : requests)
            if (!each.interface.empty() && requests.size() > 1) interfaces.insert(each.interface);
        for (const EndpointRequest& each : requests) {
            interfaces.erase(each.interface);
            works.push_back(reserve(container_id, each, interfaces));
            interfaces.insert(works.back().endpoint.interface);
        }
        const Identity& identity = identities[container_id] = identity_of(request);
        note_policy(container_id, identity.has_rules());
    };
    reserve_or_reap(container_id, works, reserve_all);
    Sandbox out;
    try {
        fault_point("network:sandbox");
        // The first bridge network's interface is there already in a sandbox of the pool.
        std::optional<ReadySandbox> ready;
        std::optional<linux::Netlink> own;
        if (!works.empty() && works.front().driver == "bridge") {
            ready = sandboxes->take({.bridge = works.front().index, .mtu = works.front().mtu, .is_crowded = works.front().is_crowded});
            out.netns = std::move(ready->netns);
            out.sysfs = std::move(ready->sysfs);
        } else {
            const linux::NetnsVisit visit{linux::NetnsVisit::New{}};
            out.netns = linux::NetnsVisit::current();
            own.emplace();
            linux::NetlinkBatch up;
            up.change_link("lo", {.up = true});
            own->run(up);
        }
        linux::Netlink& inside = ready ? ready->inside : *own;
        {
            const MutexLock lock(mutex);
            identities.at(container_id).netns = duplicate(out.netns);
        }
        Elements elements;
        for (Work& work : works) {
            fault_point("network:wire");
            wire(work, container_id, out.netns.get(), inside, &work == &works.front() && ready ? &*ready : nullptr);
            elements.insert(elements.end(), work.elements.begin(), work.elements.end());
        }
        fault_point("network:routes");
        for (const Work& work : works) out.endpoints.push_back(work.endpoint);
        set_routes(out.endpoints, inside);
        {
            const MutexLock lock(mutex);
            note_works(container_id, works);
        }
        fault_point("network:names");
        update_names(container_id, out.netns.get());
        out.resolver = resolver.sockets(container_id);
        fault_point("network:ports");
        out.ports = publish(container_id, request.ports);
        fault_point("network:rules");
        RuleChange change = change_of_ports(container_id);
        change.added.insert(change.added.end(), elements.begin(), elements.end());
        change_rules(std::move(change), "container " + container_id.substr(0, 12), {container_id});
        fault_point("network:attached");
        forget_udp(out.ports);
        return out;
    } catch (...) {
        {
            const MutexLock lock(mutex);
            note_works(container_id, works);
        }
        release(container_id);
        throw;
    }
}

Endpoint Networks::State::connect(const std::string& container_id, int netns, const EndpointRequest& request) {
    std::vector<Work> works;
    linux::Netlink inside = [&] {
        const linux::NetnsVisit visit(netns);
        return linux::Netlink();
    }();
    std::set<std::string> interfaces;
    for (const linux::Link& link : inside.links()) interfaces.insert(link.name);
    reserve_or_reap(container_id, works, [&] {
        const MutexLock lock(mutex);
        works.push_back(reserve(container_id, request, interfaces));
    });
    try {
        Work& work = works.front();
        wire(work, container_id, netns, inside, nullptr);
        std::vector<Endpoint> all;
        {
            const MutexLock lock(mutex);
            Joined& joined = nets.at(work.network_id).joined.at(container_id);
            joined.endpoint = work.endpoint;
            joined.link = work.link;
            joined.elements = work.elements;
            for (const Net& net : std::views::values(nets))
                if (const auto found = net.joined.find(container_id); found != net.joined.end()) all.push_back(found->second.endpoint);
        }
        RuleChange change = change_of_ports(container_id);
        change.added.insert(change.added.end(), work.elements.begin(), work.elements.end());
        change_rules(std::move(change), "container " + container_id.substr(0, 12), {container_id});
        set_routes(all, inside);
        update_names(container_id, netns);
        return work.endpoint;
    } catch (...) {
        undo(container_id, works);
        throw;
    }
}

void Networks::State::disconnect(const std::string& container_id, int netns, std::string_view network) {
    Joined over;
    std::vector<Endpoint> left;
    std::string network_id;
    {
        const MutexLock lock(mutex);
        Net& net = find_net(network);
        const auto found = net.joined.find(container_id);
        if (found == net.joined.end())
            fail(ErrorKind::forbidden, "container {} is not connected to network {}", container_id, net.config.name);
        network_id = net.config.id;
        over = found->second;
        for (const Net& each : std::views::values(nets))
            if (const auto other = each.joined.find(container_id); other != each.joined.end() && &each != &net)
                left.push_back(other->second.endpoint);
    }
    linux::Netlink inside = [&] {
        const linux::NetnsVisit visit(netns);
        return linux::Netlink();
    }();
    linux::NetlinkBatch remove;
    remove.delete_link(over.endpoint.interface);
    try {
        inside.run(remove);
    } catch (const Error& error) {
        if (error.os_error() != ENODEV) throw;
    }
    set_routes(left, inside);
    {
        const MutexLock lock(mutex);
        if (const auto net = nets.find(network_id); net != nets.end()) end_joined(container_id, net->second, {});
    }
    RuleChange change = change_of_ports(container_id);
    const bool have_moved = !change.removed.empty();
    change_rules(std::move(change), "container " + container_id.substr(0, 12), {container_id});
    if (have_moved) forget_udp(ports_of(container_id));
    resolver.remove_names(container_id, network_id);
    update_names(container_id, netns);
}

void Networks::State::release(const std::string& container_id) {
    Published had;
    bool had_udp = false;
    std::vector<Ip> addresses;
    std::vector<std::string> named_on;
    {
        const MutexLock lock(mutex);
        if (auto found = published.extract(container_id)) had = std::move(found.mapped());
        const auto identity = identities.extract(container_id);
        had_udp = !identity.empty() && identity.mapped().had_udp;
        note_policy(container_id, false);
        for (Net& net : std::views::values(nets)) {
            if (const auto joined = net.joined.find(container_id); had_udp && joined != net.joined.end()) {
                const auto more = addresses_of(joined->second);
                addresses.insert(addresses.end(), more.begin(), more.end());
            }
            const bool is_named = !identity.empty() && (identity.mapped().is_served || options.host_dns);
            if (is_named && net.joined.contains(container_id)) named_on.push_back(net.config.id);
            end_joined(container_id, net, reap_delay);
        }
    }
    if (!named_on.empty()) resolver.end(container_id);
    for (const std::string& each : named_on) resolver.remove_names(container_id, each);
    // Another container may take the ports at once, also where the rules cannot be changed: then the next change writes all of them.
    std::exception_ptr failure;
    try {
        change_rules({.removed = std::move(had.elements), .added = {}}, "container " + container_id.substr(0, 12), {container_id});
    } catch (...) {
        failure = std::current_exception();
    }
    for (const PublishedPort& each : had.ports) host_ports.release(each);
    if (had_udp) forget_udp(had.ports, addresses);
    if (failure) std::rethrow_exception(failure);
}

}  // namespace grua::network
