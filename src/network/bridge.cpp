#include "network/bridge.hpp"

#include "base/files.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "network/address_pool.hpp"
#include "network/container_files.hpp"

#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/random.h>
#include <unistd.h>
#include <algorithm>

namespace grua::network {

using linux::Ipv4;
using linux::Ipv4Prefix;
using linux::Link;
using linux::Mac;
using linux::Netlink;
using linux::NetlinkBatch;

namespace {

constexpr unsigned standard_mtu = 1500;
constexpr unsigned smallest_mtu = 68;  // What IPv4 needs of a link.

unsigned choose_mtu(Netlink& netlink) {
    for (const auto& route : netlink.routes()) {
        if (route.table != RT_TABLE_MAIN || route.destination.length != 0) continue;
        for (const Link& link : netlink.links()) {
            if (link.index == route.link && link.mtu >= smallest_mtu) return std::min(link.mtu, standard_mtu);
        }
    }
    return standard_mtu;
}

/// What the host uses besides the bridge itself: addresses, routes, and the nameservers that it reaches through its default route.
std::vector<Ipv4Prefix> used_here(Netlink& netlink, int bridge) {
    std::vector<Ipv4Prefix> used;
    for (const auto& address : netlink.addresses()) {
        if (address.link != bridge) used.push_back(address.address.subnet());
    }
    for (const auto& route : netlink.routes()) {
        const bool counts = route.destination.length > 0 && route.table != RT_TABLE_LOCAL;
        if (counts && (bridge == 0 || route.link != bridge)) used.push_back(route.destination);
    }
    for (const std::string& nameserver : nameservers(host_resolv_conf())) {
        if (const auto address = Ipv4::parse(nameserver)) used.push_back({*address, 32});
    }
    return used;
}

Ipv4Prefix first_address(Ipv4Prefix subnet) { return {{subnet.subnet().address.value + 1}, subnet.length}; }

Ipv4Prefix choose_gateway(Netlink& netlink, const BridgeRequest& request, int index, const std::vector<Ipv4Prefix>& present) {
    if (request.bip) return *request.bip;
    if (!present.empty()) return present.front();
    const auto used = used_here(netlink, index);
    if (request.remembered && std::ranges::none_of(used, [&](const auto& one) { return one.overlaps(*request.remembered); })) {
        return *request.remembered;
    }
    return first_address(choose_subnet(used));
}

Mac random_mac() {
    Mac mac{{0x02, 0x42}};
    if (::getrandom(mac.bytes.data() + 2, 4, 0) != 4) fail_errno("getrandom");
    return mac;
}

}  // namespace

std::string owner_alias(const std::string& bridge) { return "grua:" + bridge; }

void check_bridge_name(const std::string& name) {
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    };
    if (name.empty() || name.size() >= IFNAMSIZ || name == "." || name == ".." || !std::ranges::all_of(name, allowed)) {
        fail(ErrorKind::invalid_argument, "bridge name \"{}\": up to 15 of the characters a-z A-Z 0-9 . _ -", name);
    }
}

Bridge ensure_bridge(Netlink& netlink, const BridgeRequest& request) {
    check_bridge_name(request.name);
    const std::string alias = owner_alias(request.name);
    auto link = netlink.link(request.name);
    if (link && link->kind != "bridge") fail(ErrorKind::conflict, "link {} exists and is not a bridge", request.name);

    Bridge bridge;
    bridge.ours = !link || link->alias == alias;
    bridge.mtu = request.mtu != 0 ? request.mtu : (link && !bridge.ours ? link->mtu : choose_mtu(netlink));
    if (!link) {
        NetlinkBatch make;
        make.create_bridge({.name = request.name, .mac = random_mac(), .mtu = bridge.mtu});
        make.change_link(request.name, {.alias = alias});
        netlink.run(make);
        link = netlink.link(request.name);
        if (!link) fail(ErrorKind::system, "bridge {} vanished", request.name);
    }
    bridge.index = link->index;
    // An adopted bridge may have IPv6 that others use.
    if (bridge.ours) disable_ipv6(request.name);

    std::vector<Ipv4Prefix> present;
    for (const auto& address : netlink.addresses()) {
        if (address.link == bridge.index) present.push_back(address.address);
    }
    bridge.gateway = choose_gateway(netlink, request, bridge.index, present);

    NetlinkBatch batch;
    for (const Ipv4Prefix& address : present) {
        // --bip moves a bridge to another address; on an adopted one, what is there may be somebody's.
        if (address != bridge.gateway && bridge.ours) batch.remove_address(bridge.index, address);
    }
    if (std::ranges::find(present, bridge.gateway) == present.end()) batch.add_address(bridge.index, bridge.gateway);
    linux::LinkChange change{.up = true};
    if (bridge.ours && link->mtu != bridge.mtu) change.mtu = bridge.mtu;
    batch.change_link(request.name, change);
    netlink.run(batch);
    return bridge;
}

void ensure_forwarding() {
    const std::string path = "/proc/sys/net/ipv4/ip_forward";
    if (trim(read_file(path)) == "1") return;
    write_value(path, "1");
    log::info("switched on net.ipv4.ip_forward: this host routes packets between its networks as far as its firewall lets it");
}

void disable_ipv6(const std::string& link) {
    const std::string directory = "/proc/sys/net/ipv6/conf/" + link;
    if (::access(directory.c_str(), F_OK) != 0) return;
    write_value(directory + "/accept_ra", "0");
    write_value(directory + "/disable_ipv6", "1");
}

}  // namespace grua::network
