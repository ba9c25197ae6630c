#include "linux/netlink.hpp"

#include "linux/netlink_message.hpp"

#include <arpa/inet.h>
#include <linux/fib_rules.h>
#include <linux/gen_stats.h>
#include <linux/if_link.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <algorithm>
#include <cerrno>
#include <cstring>

namespace grua::linux {

namespace {

// Every answer of a batch must fit the socket's buffer before the first is read: about 1 kB each with the kernel's bookkeeping.
constexpr std::size_t requests_per_send = 64;
constexpr std::size_t longest_alias = 255;  // IFALIASZ less the zero byte.

ifinfomsg link_header() {
    ifinfomsg header{};
    header.ifi_family = AF_UNSPEC;
    return header;
}

void put_name(MessageBuilder& message, std::string_view name) {
    if (name.empty() || name.size() >= IFNAMSIZ) fail(ErrorKind::invalid_argument, "\"{}\" is no interface name", name);
    message.text(IFLA_IFNAME, name);
}

std::uint8_t family_number(Ip::Family family) { return family == Ip::Family::v4 ? AF_INET : AF_INET6; }

void put_ip(MessageBuilder& message, std::uint16_t type, const Ip& address) {
    const auto bytes = address.bytes();
    message.bytes(type, bytes.data(), bytes.size());
}

std::vector<std::byte> address_request(std::uint16_t type, std::uint16_t flags, int link, const IpPrefix& address) {
    ifaddrmsg header{};
    header.ifa_family = family_number(address.address.family);
    header.ifa_prefixlen = static_cast<std::uint8_t>(address.length);
    // Else a link-local address would be the source of what goes elsewhere.
    header.ifa_scope = address.address.is_link_local() ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    header.ifa_index = static_cast<unsigned>(link);
    if (address.address.is_v6()) header.ifa_flags = IFA_F_NODAD;
    return built(type, flags, header, [&](MessageBuilder& message) {
        put_ip(message, IFA_LOCAL, address.address);
        put_ip(message, IFA_ADDRESS, address.address);
        if (type == RTM_NEWADDR && address.address.is_v4() && address.length < 31) put_ip(message, IFA_BROADCAST, address.last());
    });
}

struct RouteRequest {
    std::uint16_t type = RTM_NEWROUTE;
    std::uint16_t flags = 0;
    IpPrefix destination;
    std::optional<Ip> gateway;
    int link = 0;
    std::uint32_t table = RT_TABLE_MAIN;
};

std::vector<std::byte> route_request(const RouteRequest& route) {
    rtmsg header{};
    header.rtm_family = family_number(route.destination.address.family);
    header.rtm_dst_len = static_cast<std::uint8_t>(route.destination.length);
    header.rtm_table = route.table < 256 ? static_cast<std::uint8_t>(route.table) : static_cast<std::uint8_t>(RT_TABLE_UNSPEC);
    header.rtm_protocol = route.type == RTM_NEWROUTE ? RTPROT_STATIC : RTPROT_UNSPEC;
    header.rtm_scope = route.type != RTM_NEWROUTE ? RT_SCOPE_NOWHERE : route.gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
    header.rtm_type = RTN_UNICAST;
    return built(route.type, NLM_F_ACK | route.flags, header, [&](MessageBuilder& out) {
        if (route.destination.length > 0) put_ip(out, RTA_DST, route.destination.address);
        if (route.gateway) put_ip(out, RTA_GATEWAY, *route.gateway);
        if (route.link != 0) out.number(RTA_OIF, static_cast<std::uint32_t>(route.link));
        if (route.table >= 256) out.number(RTA_TABLE, route.table);
    });
}

std::vector<std::byte> rule_request(std::uint16_t type, std::uint16_t flags, Ip::Family family, std::uint32_t mark, std::uint32_t table) {
    fib_rule_hdr header{};
    header.family = family_number(family);
    header.action = FR_ACT_TO_TBL;
    return built(type, NLM_F_ACK | flags, header, [&](MessageBuilder& out) {
        out.number(FRA_FWMARK, mark);
        out.number(FRA_FWMASK, mark);
        out.number(FRA_TABLE, table);
    });
}

Link parse_link(const Message& message) {
    const auto header = message.header<ifinfomsg>();
    Link link;
    link.index = header.ifi_index;
    link.up = (header.ifi_flags & IFF_UP) != 0;
    for (const Attribute& attribute : message.attributes_after<ifinfomsg>()) {
        switch (attribute.type) {
            case IFLA_IFNAME:
                link.name = attribute.text();
                break;
            case IFLA_IFALIAS:
                link.alias = attribute.text();
                break;
            case IFLA_MTU:
                link.mtu = attribute.number();
                break;
            case IFLA_ADDRESS:
                if (attribute.payload.size() == link.mac.bytes.size())
                    std::memcpy(link.mac.bytes.data(), attribute.payload.data(), link.mac.bytes.size());
                break;
            case IFLA_MASTER:
                link.master = static_cast<int>(attribute.number());
                break;
            case IFLA_LINKINFO:
                for (const Attribute& info : attributes(attribute.payload)) {
                    if (info.type == IFLA_INFO_KIND) link.kind = info.text();
                }
                break;
            default:
                break;
        }
    }
    return link;
}

}  // namespace

void NetlinkBatch::create_bridge(const BridgeOptions& bridge) {
    auto message = built(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, link_header(), [&](MessageBuilder& out) {
        put_name(out, bridge.name);
        out.number(IFLA_MTU, bridge.mtu);
        out.bytes(IFLA_ADDRESS, bridge.mac.bytes.data(), bridge.mac.bytes.size());
        out.nested(IFLA_LINKINFO, [&] { out.text(IFLA_INFO_KIND, "bridge"); });
    });
    requests_.push_back({std::move(message), fmt::format("create bridge {}", bridge.name)});
}

void NetlinkBatch::create_veth(const VethPair& pair) {
    // Else the kernel makes one for each processor, switches all but the first off, and waits for that.
    constexpr std::uint32_t queues = 1;
    auto message = built(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, link_header(), [&](MessageBuilder& out) {
        const auto end = [&](std::string_view name) {
            put_name(out, name);
            out.number(IFLA_MTU, pair.mtu);
            out.number(IFLA_NUM_TX_QUEUES, queues);
            out.number(IFLA_NUM_RX_QUEUES, queues);
        };
        end(pair.name);
        out.nested(IFLA_LINKINFO, [&] {
            out.text(IFLA_INFO_KIND, "veth");
            out.nested(IFLA_INFO_DATA, [&] {
                out.nested(VETH_INFO_PEER, [&] {
                    out.structure(link_header());
                    end(pair.peer_name);
                    out.number(IFLA_NET_NS_FD, static_cast<std::uint32_t>(pair.peer_netns));
                });
            });
        });
    });
    requests_.push_back({std::move(message), fmt::format("create veth {}", pair.name)});
}

void NetlinkBatch::change_link(std::string_view name, const LinkChange& change) {
    ifinfomsg header = link_header();
    if (change.up) {
        header.ifi_change = IFF_UP;
        header.ifi_flags = *change.up ? IFF_UP : 0;
    }
    if (change.no_arp) {
        header.ifi_change |= IFF_NOARP;
        header.ifi_flags |= IFF_NOARP;
    }
    // NEWLINK without CREATE, not SETLINK: it alone takes the port's settings of IFLA_LINKINFO too.
    auto message = built(RTM_NEWLINK, NLM_F_ACK, header, [&](MessageBuilder& out) {
        put_name(out, name);
        if (change.mac) out.bytes(IFLA_ADDRESS, change.mac->bytes.data(), change.mac->bytes.size());
        if (change.mtu) out.number(IFLA_MTU, *change.mtu);
        if (change.master) out.number(IFLA_MASTER, static_cast<std::uint32_t>(*change.master));
        if (change.group) out.number(IFLA_GROUP, *change.group);
        if (change.alias) {
            if (change.alias->size() > longest_alias) fail(ErrorKind::invalid_argument, "alias of {} is too long", name);
            out.bytes(IFLA_IFALIAS, change.alias->data(), change.alias->size());
        }
        if (change.hairpin) {
            out.nested(IFLA_LINKINFO, [&] {
                out.text(IFLA_INFO_SLAVE_KIND, "bridge");
                out.nested(IFLA_INFO_SLAVE_DATA, [&] { out.number(IFLA_BRPORT_MODE, std::uint8_t{1}); });
            });
        }
    });
    requests_.push_back({std::move(message), fmt::format("set up link {}", name)});
}

void NetlinkBatch::rename_link(int link, std::string_view name) {
    ifinfomsg header = link_header();
    header.ifi_index = link;
    auto message = built(RTM_NEWLINK, NLM_F_ACK, header, [&](MessageBuilder& out) { put_name(out, name); });
    requests_.push_back({std::move(message), fmt::format("name link {} {}", link, name)});
}

void NetlinkBatch::move_link(int link, int netns, std::string_view name) {
    ifinfomsg header = link_header();
    header.ifi_index = link;
    auto message = built(RTM_NEWLINK, NLM_F_ACK, header, [&](MessageBuilder& out) {
        put_name(out, name);
        out.number(IFLA_NET_NS_FD, static_cast<std::uint32_t>(netns));
    });
    requests_.push_back({std::move(message), fmt::format("move link {} to be {}", link, name)});
}

void NetlinkBatch::delete_link(std::string_view name) {
    auto message = built(RTM_DELLINK, NLM_F_ACK, link_header(), [&](MessageBuilder& out) { put_name(out, name); });
    requests_.push_back({std::move(message), fmt::format("delete link {}", name)});
}

void NetlinkBatch::delete_group(std::uint32_t group) {
    auto message = built(RTM_DELLINK, NLM_F_ACK, link_header(), [&](MessageBuilder& out) { out.number(IFLA_GROUP, group); });
    requests_.push_back({std::move(message), fmt::format("delete links of group {}", group)});
}

void NetlinkBatch::create_child(const ChildLink& link) {
    auto message = built(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, link_header(), [&](MessageBuilder& out) {
        put_name(out, link.name);
        if (link.mtu != 0) out.number(IFLA_MTU, link.mtu);
        if (link.mac) out.bytes(IFLA_ADDRESS, link.mac->bytes.data(), link.mac->bytes.size());
        out.number(IFLA_LINK, static_cast<std::uint32_t>(link.parent));
        out.number(IFLA_NET_NS_FD, static_cast<std::uint32_t>(link.netns));
        out.nested(IFLA_LINKINFO, [&] {
            out.text(IFLA_INFO_KIND, link.kind);
            out.nested(IFLA_INFO_DATA, [&] {
                if (link.kind == "macvlan") {
                    out.number(IFLA_MACVLAN_MODE, link.mode);
                } else {
                    out.number(IFLA_IPVLAN_MODE, static_cast<std::uint16_t>(link.mode));
                    out.number(IFLA_IPVLAN_FLAGS, static_cast<std::uint16_t>(link.flags));
                }
            });
        });
    });
    requests_.push_back({std::move(message), fmt::format("create {} {}", link.kind, link.name)});
}

void NetlinkBatch::create_vlan(std::string_view name, int parent, std::uint16_t id) {
    auto message = built(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, link_header(), [&](MessageBuilder& out) {
        put_name(out, name);
        out.number(IFLA_LINK, static_cast<std::uint32_t>(parent));
        out.nested(IFLA_LINKINFO, [&] {
            out.text(IFLA_INFO_KIND, "vlan");
            out.nested(IFLA_INFO_DATA, [&] { out.number(IFLA_VLAN_ID, id); });
        });
    });
    requests_.push_back({std::move(message), fmt::format("create vlan {}", name)});
}

void NetlinkBatch::create_link(std::string_view name, std::string_view kind) {
    auto message = built(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, link_header(), [&](MessageBuilder& out) {
        put_name(out, name);
        out.nested(IFLA_LINKINFO, [&] { out.text(IFLA_INFO_KIND, kind); });
    });
    requests_.push_back({std::move(message), fmt::format("create {} {}", kind, name)});
}

void NetlinkBatch::add_address(int link, const IpPrefix& address) {
    requests_.push_back({address_request(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, link, address),
                         fmt::format("add address {} to link {}", address.text(), link)});
}

void NetlinkBatch::remove_address(int link, const IpPrefix& address) {
    requests_.push_back(
        {address_request(RTM_DELADDR, NLM_F_ACK, link, address), fmt::format("remove address {} from link {}", address.text(), link)});
}

void NetlinkBatch::set_default_route(Ip gateway, int link) {
    requests_.push_back(
        {route_request({.flags = NLM_F_CREATE | NLM_F_REPLACE, .destination = {{gateway.family, 0}, 0}, .gateway = gateway, .link = link}),
         fmt::format("set default route through {}", gateway.text())});
}

void NetlinkBatch::set_default_route_on_link(Ip::Family family, int link) {
    requests_.push_back(
        {route_request({.flags = NLM_F_CREATE | NLM_F_REPLACE, .destination = {{family, 0}, 0}, .gateway = {}, .link = link}),
         fmt::format("set default route on link {}", link)});
}

void NetlinkBatch::remove_default_route(Ip::Family family) {
    requests_.push_back(
        {route_request({.type = RTM_DELROUTE, .destination = {{family, 0}, 0}, .gateway = {}}), "remove the default route"});
}

void NetlinkBatch::add_route(const IpPrefix& destination, int link, std::uint32_t table) {
    requests_.push_back(
        {route_request({.flags = NLM_F_CREATE | NLM_F_REPLACE, .destination = destination, .gateway = {}, .link = link, .table = table}),
         fmt::format("add route to {}", destination.text())});
}

void NetlinkBatch::add_rule_for_mark(Ip::Family family, std::uint32_t mark, std::uint32_t table) {
    requests_.push_back(
        {rule_request(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, family, mark, table), fmt::format("add routing rule for mark {:#x}", mark)});
}

void NetlinkBatch::remove_rule_for_mark(Ip::Family family, std::uint32_t mark, std::uint32_t table) {
    requests_.push_back({rule_request(RTM_DELRULE, 0, family, mark, table), fmt::format("remove routing rule for mark {:#x}", mark)});
}

Netlink::Netlink() : socket_(NETLINK_ROUTE) { socket_.set_option(NETLINK_GET_STRICT_CHK, 1); }

void Netlink::run(const NetlinkBatch& batch) {
    std::span<const NetlinkBatch::Request> left(batch.requests_);
    while (!left.empty()) {
        const auto some = left.first(std::min(left.size(), requests_per_send));
        run_some(some);
        left = left.subspan(some.size());
    }
}

void Netlink::run_some(std::span<const NetlinkBatch::Request> requests) {
    std::vector<std::byte> datagram;
    std::uint32_t last = 0;
    for (const auto& request : requests) {
        const std::size_t start = datagram.size();
        datagram.insert(datagram.end(), request.message.begin(), request.message.end());
        last = socket_.number(std::span(datagram).subspan(start));
    }
    socket_.send(datagram, requests.front().doing);

    const std::uint32_t first = last + 1 - static_cast<std::uint32_t>(requests.size());
    std::optional<Error> failure;
    for (std::size_t answered = 0; answered < requests.size();) {
        socket_.read(requests.front().doing, [&](const Message& message) {
            const std::uint32_t position = message.sequence - first;
            if (message.type != NLMSG_ERROR || position >= requests.size()) return;
            ++answered;
            const int os_error = -message.header<nlmsgerr>().error;
            if (os_error != 0 && !failure) failure = refusal(requests[position].doing, os_error, message);
        });
    }
    if (failure) throw Error(*failure);
}

std::vector<Link> Netlink::links() {
    return retried([&] {
        std::vector<Link> out;
        const auto request = built(RTM_GETLINK, NLM_F_DUMP, link_header(), [](MessageBuilder&) {});
        socket_.ask(request, "list links", [&](const Message& message) {
            if (message.type == RTM_NEWLINK) out.push_back(parse_link(message));
        });
        return out;
    });
}

std::optional<Link> Netlink::link(std::string_view name) {
    std::optional<Link> out;
    // One link is answered like a dump of one, ended by the acknowledgement.
    const auto request = built(RTM_GETLINK, NLM_F_ACK, link_header(), [&](MessageBuilder& message) { put_name(message, name); });
    try {
        socket_.ask(request, fmt::format("look at link {}", name), [&](const Message& message) {
            if (message.type == RTM_NEWLINK) out = parse_link(message);
        });
    } catch (const Error& error) {
        if (error.os_error() != ENODEV) throw;
    }
    return out;
}

std::vector<LinkAddress> Netlink::addresses() {
    return retried([&] {
        std::vector<LinkAddress> out;
        for (const auto family : {std::uint8_t{AF_INET}, std::uint8_t{AF_INET6}}) {
            ifaddrmsg header{};
            header.ifa_family = family;
            // Not IFA_ADDRESS: on a point-to-point link that is the other side's. IPv6 has IFA_LOCAL there only.
            const auto request = built(RTM_GETADDR, NLM_F_DUMP, header, [](MessageBuilder&) {});
            socket_.ask(request, "list addresses", [&](const Message& message) {
                if (message.type != RTM_NEWADDR) return;
                const auto found = message.header<ifaddrmsg>();
                if (found.ifa_family != family) return;
                LinkAddress one{.link = static_cast<int>(found.ifa_index), .address = {{}, found.ifa_prefixlen}};
                one.is_global = found.ifa_scope == RT_SCOPE_UNIVERSE && (found.ifa_flags & IFA_F_PERMANENT) != 0;
                bool has_local = false;
                for (const Attribute& attribute : message.attributes_after<ifaddrmsg>()) {
                    if (attribute.type != IFA_LOCAL && (attribute.type != IFA_ADDRESS || has_local)) continue;
                    has_local = attribute.type == IFA_LOCAL;
                    one.address.address = Ip::from_bytes(attribute.payload);
                }
                out.push_back(one);
            });
        }
        return out;
    });
}

std::vector<Route> Netlink::routes() {
    return retried([&] {
        std::vector<Route> out;
        for (const auto family : {std::uint8_t{AF_INET}, std::uint8_t{AF_INET6}}) {
            rtmsg header{};
            header.rtm_family = family;
            const auto request = built(RTM_GETROUTE, NLM_F_DUMP, header, [](MessageBuilder&) {});
            socket_.ask(request, "list routes", [&](const Message& message) {
                if (message.type != RTM_NEWROUTE) return;
                const auto found = message.header<rtmsg>();
                if (found.rtm_family != family || found.rtm_type != RTN_UNICAST || (found.rtm_flags & RTM_F_CLONED) != 0) return;
                Route route;
                route.destination = {{family == AF_INET ? Ip::Family::v4 : Ip::Family::v6, 0}, found.rtm_dst_len};
                route.table = found.rtm_table;
                for (const Attribute& attribute : message.attributes_after<rtmsg>()) {
                    if (attribute.type == RTA_DST) route.destination.address = Ip::from_bytes(attribute.payload);
                    if (attribute.type == RTA_OIF) route.link = static_cast<int>(attribute.number());
                    if (attribute.type == RTA_TABLE) route.table = attribute.number();
                }
                out.push_back(route);
            });
        }
        return out;
    });
}

std::optional<Queue> Netlink::queue(int link) {
    return retried([&] {
        std::optional<Queue> out;
        tcmsg header{};
        header.tcm_family = AF_UNSPEC;
        // Of all links: asked for one, some kernels say that it is there and nothing of it.
        const auto request = built(RTM_GETQDISC, NLM_F_DUMP, header, [](MessageBuilder&) {});
        socket_.ask(request, fmt::format("look at the queue of link {}", link), [&](const Message& message) {
            const auto found = message.header<tcmsg>();
            if (message.type != RTM_NEWQDISC || found.tcm_ifindex != link || found.tcm_parent != TC_H_ROOT) return;
            out.emplace();
            for (const Attribute& attribute : message.attributes_after<tcmsg>()) {
                if (attribute.type == TCA_KIND) out->kind = attribute.text();
                if (attribute.type != TCA_STATS2) continue;
                for (const Attribute& each : attributes(attribute.payload)) {
                    if (each.type != TCA_STATS_QUEUE || each.payload.size() < sizeof(gnet_stats_queue)) continue;
                    gnet_stats_queue stats{};
                    std::memcpy(&stats, each.payload.data(), sizeof stats);
                    out->dropped = stats.drops;
                    out->delayed = stats.overlimits;
                }
            }
        });
        return out;
    });
}

NetlinkWatch::NetlinkWatch() : socket_(NETLINK_ROUTE) {
    for (const int group : {RTNLGRP_LINK, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE}) socket_.set_option(NETLINK_ADD_MEMBERSHIP, group);
}

NetlinkWatch::Changes NetlinkWatch::read() {
    Changes out;
    const bool lost = socket_.read_waiting("watch links and routes", [&](const Message& message) {
        if (message.type == RTM_NEWROUTE || message.type == RTM_DELROUTE) {
            // Those of addresses and of what is cached come and go with containers.
            const auto found = message.header<rtmsg>();
            out.routes = out.routes || (found.rtm_type == RTN_UNICAST && (found.rtm_flags & RTM_F_CLONED) == 0);
        }
        if (message.type != RTM_NEWLINK) return;
        const Link link = parse_link(message);
        out.mtus.emplace_back(link.index, link.mtu);
    });
    out.routes = out.routes || lost;
    return out;
}

}  // namespace grua::linux
