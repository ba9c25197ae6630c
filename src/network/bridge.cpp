#include "network/bridge.hpp"

#include "base/files.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "linux/sysctls.hpp"
#include "network/container_files.hpp"

#include <linux/rtnetlink.h>
#include <net/if.h>
#include <unistd.h>
#include <algorithm>
#include <filesystem>

namespace grua::network {

using linux::Ip;
using linux::IpPrefix;
using linux::Link;
using linux::Mac;
using linux::Netlink;
using linux::NetlinkBatch;

namespace {

constexpr unsigned standard_mtu = 1500;
constexpr unsigned smallest_mtu = 68;  // What IPv4 needs of a link.

}  // namespace

const Link* Present::find(std::string_view name) const {
    const auto found = std::ranges::find(links, name, &Link::name);
    return found == links.end() ? nullptr : &*found;
}

Present look(Netlink& netlink) { return {.links = netlink.links(), .addresses = netlink.addresses()}; }

void check_bridge_name(const std::string& name) {
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    };
    if (name.empty() || name.size() >= IFNAMSIZ || name == "." || name == ".." || !std::ranges::all_of(name, allowed)) {
        fail(ErrorKind::invalid_argument, "bridge name \"{}\": up to 15 of the characters a-z A-Z 0-9 . _ -", name);
    }
}

Uplink find_uplink(Netlink& netlink) {
    for (const auto& route : netlink.routes()) {
        if (route.table != RT_TABLE_MAIN || route.destination.length != 0) continue;
        for (const Link& link : netlink.links()) {
            if (link.index == route.link && link.mtu >= smallest_mtu) return {.index = link.index, .mtu = std::min(link.mtu, standard_mtu)};
        }
    }
    return {.index = 0, .mtu = standard_mtu};
}

std::vector<IpPrefix> used_by_host(Netlink& netlink, const Present& present, std::string_view our_alias) {
    std::vector<int> ours;
    for (const Link& link : present.links) {
        if (link.alias.starts_with(our_alias)) ours.push_back(link.index);
    }
    const auto is_ours = [&](int index) { return std::ranges::find(ours, index) != ours.end(); };
    std::vector<IpPrefix> used;
    for (const auto& address : present.addresses) {
        if (!is_ours(address.link)) used.push_back(address.address.subnet());
    }
    for (const auto& route : netlink.routes()) {
        if (route.destination.length > 0 && route.table != RT_TABLE_LOCAL && !is_ours(route.link)) used.push_back(route.destination);
    }
    for (const std::string& nameserver : nameservers(host_resolv_conf())) {
        if (const auto address = Ip::parse(nameserver)) used.push_back({*address, address->bits()});
    }
    return used;
}

Bridge ensure_bridge(Netlink& netlink, const Present& present, const BridgeRequest& request) {
    check_bridge_name(request.name);
    const Link* link = present.find(request.name);
    if (link && link->kind != "bridge") fail(ErrorKind::conflict, "link {} exists and is not a bridge", request.name);

    Bridge bridge{.index = link ? link->index : 0, .ours = !link || link->alias == request.alias};
    if (!link) {
        NetlinkBatch make;
        make.create_bridge({.name = request.name, .mac = Mac::random(), .mtu = request.mtu});
        make.change_link(request.name, {.alias = request.alias});
        netlink.run(make);
        const auto made = netlink.link(request.name);
        if (!made) fail(ErrorKind::system, "bridge {} vanished", request.name);
        bridge.index = made->index;
    }
    // An adopted bridge may have IPv6 that others use.
    if (bridge.ours || request.ipv6) set_ipv6(linux::Sysctls(), request.name, request.ipv6);
    if (request.route_localnet) linux::Sysctls().write(fmt::format("net/ipv4/conf/{}/route_localnet", request.name), "1");

    NetlinkBatch batch;
    std::vector<IpPrefix> there;
    for (const auto& address : present.addresses) {
        if (!link || address.link != bridge.index) continue;
        there.push_back(address.address);
        const bool link_local = address.address.address.is_v6() && address.address.address.is_link_local();
        // --bip moves a bridge to another address; on an adopted one, what is there may be somebody's.
        if (bridge.ours && !link_local && std::ranges::find(request.addresses, address.address) == request.addresses.end())
            batch.remove_address(bridge.index, address.address);
    }
    for (const IpPrefix& each : request.addresses) {
        if (std::ranges::find(there, each) == there.end()) batch.add_address(bridge.index, each);
    }
    linux::LinkChange change{.up = true};
    if (bridge.ours && link && link->mtu != request.mtu) change.mtu = request.mtu;
    batch.change_link(request.name, change);
    netlink.run(batch);
    return bridge;
}

void ensure_forwarding(Ip::Family family) {
    const std::string path = family == Ip::Family::v4 ? "/proc/sys/net/ipv4/ip_forward" : "/proc/sys/net/ipv6/conf/all/forwarding";
    if (::access(path.c_str(), F_OK) != 0 || trim(read_file(path)) == "1") return;
    if (family == Ip::Family::v6) {
        // A router ignores advertisements unless told so: a host that has its default route from one would lose it.
        std::error_code ignored;
        for (const auto& link : std::filesystem::directory_iterator("/proc/sys/net/ipv6/conf", ignored)) {
            const std::string accept = link.path().string() + "/accept_ra";
            if (link.path().filename() != "all" && trim(read_file(accept)) == "1") write_value(accept, "2");
        }
    }
    write_value(path, "1");
    std::string name = path.substr(std::string_view("/proc/sys/").size());
    std::ranges::replace(name, '/', '.');
    log::info("switched on {}: this host routes packets between its networks as far as its firewall lets it", name);
}

void set_ipv6(const linux::Sysctls& kernel, const std::string& link, bool on) {
    const std::string directory = "net/ipv6/conf/" + link;
    if (!kernel.has(directory)) return;
    kernel.write(directory + "/accept_ra", "0");
    if (on) kernel.write(directory + "/accept_dad", "0");
    kernel.write(directory + "/disable_ipv6", on ? "0" : "1");
}

}  // namespace grua::network
