#include "network/rules.hpp"

#include "base/text.hpp"
#include "linux/netlink.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <functional>
#include <tuple>

namespace grua::network {

using linux::Ip;
using linux::Mac;
using linux::NftBytes;
using linux::NftElement;
using linux::NftFamily;

namespace {

// "same" has each bridge with itself; "open" those whose containers may talk to each other.
// A container that reaches one of its own network by a published port must be answered through the host: its packet is
// marked on its way, because what br_netfilter forwards has no iifname any more when it is translated.
// "th" is whatever has ports: TCP, UDP, SCTP.
constexpr std::string_view inet_table = R"(
    set bridges { type ifname; }
    set internal { type ifname; }
    set same { type ifname . ifname; }
    set open { type ifname . ifname; }
    set trusted { type ifname . ifname; }
    set masquerade4 { type ifname; }
    set masquerade6 { type ifname; }
    map source4 { type ifname : ipv4_addr; }
    map source6 { type ifname : ipv6_addr; }
    set unprotected4 { type ifname; }
    set unprotected6 { type ifname; }
    set routed4 { type ifname; }
    set routed6 { type ifname; }
    set reachable4 { type ipv4_addr . inet_proto . inet_service; }
    set reachable6 { type ipv6_addr . inet_proto . inet_service; }
    map guarded4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
    map guarded6 { type inet_proto . inet_service : ipv6_addr . inet_service; }
    map guarded4_at { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
    map guarded6_at { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }
    map ports4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
    map ports6 { type inet_proto . inet_service : ipv6_addr . inet_service; }
    map ports4_at { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
    map ports6_at { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }
    set peers4 { type ipv4_addr . ipv4_addr; }
    set peers6 { type ipv6_addr . ipv6_addr; }
    set allowed4 { type ipv4_addr . ipv4_addr . inet_proto . inet_service; }
    set allowed6 { type ipv6_addr . ipv6_addr . inet_proto . inet_service; }
    set network_peers4 { type ifname . ipv4_addr; }
    set network_peers6 { type ifname . ipv6_addr; }
    set network_allowed4 { type ifname . ipv4_addr . inet_proto . inet_service; }
    set network_allowed6 { type ifname . ipv6_addr . inet_proto . inet_service; }
    map shares4 { typeof ip daddr : meta priority; }
    map shares6 { typeof ip6 daddr : meta priority; }

    chain early {
        type filter hook prerouting priority raw; policy accept;
        iifname != "lo" ip daddr 127.0.0.0/8 drop
        iifname "LOOPi" meta mark set meta mark or 0x40000000
    }
    chain late {
        type filter hook prerouting priority 300; policy accept;
        iifname "LOOPi" meta mark set meta mark and 0xbfffffff
        ct direction original ct status dnat meta mark set meta mark or 0x08000000
    }
    chain prerouting {
        type nat hook prerouting priority dstnat; policy accept;
        iifname "LOOPi" jump guarded
        fib daddr type local jump published
    }
    chain output {
        type nat hook output priority -100; policy accept;
        ip6 daddr ::1 return
        fib daddr type local jump published
        fib daddr type local jump guarded
    }
    chain guarded {
        dnat ip to ip daddr . meta l4proto . th dport map @guarded4_at
        dnat ip to meta l4proto . th dport map @guarded4
        dnat ip6 to ip6 daddr . meta l4proto . th dport map @guarded6_at
        dnat ip6 to meta l4proto . th dport map @guarded6
    }
    chain published {
        dnat ip to ip daddr . meta l4proto . th dport map @ports4_at
        dnat ip to meta l4proto . th dport map @ports4
        dnat ip6 to ip6 daddr . meta l4proto . th dport map @ports6_at
        dnat ip6 to meta l4proto . th dport map @ports6
    }
    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        oifname @bridges ip saddr 127.0.0.0/8 masquerade
        meta mark and 0x10000000 == 0x10000000 masquerade
        iifname . oifname @same accept
        snat ip to iifname map @source4
        snat ip6 to iifname map @source6
        meta nfproto ipv4 iifname @masquerade4 masquerade
        meta nfproto ipv6 iifname @masquerade6 masquerade
    }
    chain marked {
        type filter hook forward priority -1; policy accept;
        iifname @bridges meta mark set meta mark or 0x20000000 accept
        oifname @bridges meta mark set meta mark or 0x20000000
    }
    chain forward {
        type filter hook forward priority filter; policy accept;
        ct state established,related accept
        iifname != @bridges oifname != @bridges accept
        iifname . oifname @same ct status dnat meta mark set meta mark or 0x10000000
        iifname . oifname @open accept
        iifname @internal drop
        oifname @internal drop
        ip saddr . ip daddr @peers4 accept
        ip6 saddr . ip6 daddr @peers6 accept
        iifname . ip daddr @network_peers4 accept
        iifname . ip6 daddr @network_peers6 accept
        ip saddr . ip daddr . meta l4proto . th dport @allowed4 accept
        ip6 saddr . ip6 daddr . meta l4proto . th dport @allowed6 accept
        iifname . ip daddr . meta l4proto . th dport @network_allowed4 accept
        iifname . ip6 daddr . meta l4proto . th dport @network_allowed6 accept
        iifname . oifname @trusted accept
        ct status dnat accept
        iifname . oifname @same drop
        oifname @routed4 meta l4proto icmp accept
        oifname @routed6 meta l4proto ipv6-icmp accept
        ip daddr . meta l4proto . th dport @reachable4 accept
        ip6 daddr . meta l4proto . th dport @reachable6 accept
        iifname != @bridges meta nfproto ipv4 oifname @unprotected4 accept
        iifname != @bridges meta nfproto ipv6 oifname @unprotected6 accept
        oifname @bridges drop
    }
)";

// What a container sends has its own addresses, and nobody is a router but the host; the first rules let through nearly all of it with
// one look. Whoever receives a frame with the tag of VLAN 0, or
// several tags, takes it as one without: what is in it would not be looked at here (CVE-2021-27853). Ports of networks without
// communication between containers are "closed": only what is published passes, which is bridged where br_netfilter
// translates the destination on the way, and marked then. A "restricted" address takes what its container's policy allows, and answers to
// what it asked itself: many kernels track no connections on a bridge, so the sets "replies" and "pings" remember what was asked.
constexpr std::string_view bridge_table = R"(
    set ports { type ifname; }
    set macs { type ifname . ether_addr; }
    set addresses4 { type ifname . ether_addr . ipv4_addr; }
    set addresses6 { type ifname . ether_addr . ipv6_addr; }
    set targets6 { typeof iifname . @th,64,128; }

    set closed { type ifname; }
    set exposed4 { type ipv4_addr . inet_proto . inet_service; }
    set exposed6 { type ipv6_addr . inet_proto . inet_service; }
    set linked4 { type ipv4_addr; }
    set restricted4 { type ipv4_addr; }
    set restricted6 { type ipv6_addr; }
    set peers4 { type ipv4_addr . ipv4_addr; }
    set peers6 { type ipv6_addr . ipv6_addr; }
    set allowed4 { type ipv4_addr . ipv4_addr . inet_proto . inet_service; }
    set allowed6 { type ipv6_addr . ipv6_addr . inet_proto . inet_service; }
    set network_peers4 { type ipv4_addr; }
    set network_peers6 { type ipv6_addr; }
    set network_allowed4 { type ipv4_addr . inet_proto . inet_service; }
    set network_allowed6 { type ipv6_addr . inet_proto . inet_service; }
    set replies4 { type ipv4_addr . ipv4_addr . inet_proto . inet_service . inet_service; size 65536; flags dynamic,timeout; timeout 60s; }
    set replies6 { type ipv6_addr . ipv6_addr . inet_proto . inet_service . inet_service; size 65536; flags dynamic,timeout; timeout 60s; }
    set pings4 { type ipv4_addr . ipv4_addr; size 65536; flags dynamic,timeout; timeout 10s; }
    set pings6 { type ipv6_addr . ipv6_addr; size 65536; flags dynamic,timeout; timeout 10s; }
    map shares { typeof iifname : meta priority; }

    chain prerouting {
        type filter hook prerouting priority -300; policy accept;
        ether type ip iifname . ether saddr . ip saddr @addresses4 accept
        ether type ip6 meta l4proto != ipv6-icmp iifname . ether saddr . ip6 saddr @addresses6 accept
        iifname != @ports accept
        iifname . ether saddr != @macs drop
        ether type 8021ad drop
        vlan id 0 drop
        vlan type { 8021q, 8021ad } drop
        ether type arp jump arp_sender
        ip saddr != 0.0.0.0 iifname . ether saddr . ip saddr != @addresses4 drop
        ether type ip6 jump ip6_sender
    }
    chain arp_sender {
        iifname . arp saddr ether != @macs drop
        arp saddr ip 0.0.0.0 accept
        iifname . arp saddr ether . arp saddr ip != @addresses4 drop
    }
    chain ip6_sender {
        icmpv6 type nd-router-advert drop
        icmpv6 type nd-redirect drop
        ip6 saddr :: accept
        iifname . ether saddr . ip6 saddr != @addresses6 drop
        icmpv6 type nd-neighbor-advert iifname . @th,64,128 != @targets6 drop
    }
)";

// What every packet would pay for and few networks need is in the tables from the first element on that needs it: shares of a network's
// rate, and what is asked of one container of a bridge that talks to another.
constexpr std::string_view inet_shares = R"(
    chain share {
        type filter hook postrouting priority filter; policy accept;
        meta priority set ip daddr map @shares4
        meta priority set ip6 daddr map @shares6
    }
)";
constexpr std::string_view bridge_shares = R"(
    chain share {
        type filter hook prerouting priority -301; policy accept;
        meta priority set iifname map @shares
    }
)";
constexpr std::string_view bridge_neighbours = R"(
    chain forward {
        type filter hook forward priority -300; policy accept;
        ip saddr @restricted4 jump from_restricted
        ip6 saddr @restricted6 jump from_restricted
        ip daddr @restricted4 jump to_restricted
        ip6 daddr @restricted6 jump to_restricted
        iifname @closed oifname @closed jump between_closed
    }
    chain between_closed {
        arp daddr ip @restricted4 accept
        arp saddr ip @restricted4 accept
        arp daddr ip @linked4 accept
        arp saddr ip @linked4 accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
        meta mark and 0x08000000 == 0x08000000 accept
        ip saddr . meta l4proto . th sport @exposed4 accept
        ip6 saddr . meta l4proto . th sport @exposed6 accept
        ip saddr . ip daddr . meta l4proto . th dport @allowed4 accept
        ip6 saddr . ip6 daddr . meta l4proto . th dport @allowed6 accept
        ip daddr . ip saddr @peers4 accept
        ip6 daddr . ip6 saddr @peers6 accept
        ip saddr @network_peers4 accept
        ip6 saddr @network_peers6 accept
        ip daddr . ip saddr . meta l4proto . th sport @allowed4 accept
        ip6 daddr . ip6 saddr . meta l4proto . th sport @allowed6 accept
        ip saddr . meta l4proto . th sport @network_allowed4 accept
        ip6 saddr . meta l4proto . th sport @network_allowed6 accept
        drop
    }
    chain from_restricted {
        meta l4proto { udp, udplite, sctp, dccp } update @replies4 { ip daddr . ip saddr . meta l4proto . th dport . th sport }
        meta l4proto { udp, udplite, sctp, dccp } update @replies6 { ip6 daddr . ip6 saddr . meta l4proto . th dport . th sport }
        icmp type echo-request update @pings4 { ip daddr . ip saddr }
        icmpv6 type echo-request update @pings6 { ip6 daddr . ip6 saddr }
    }
    chain to_restricted {
        tcp flags & (syn | ack) != syn accept
        icmp type { destination-unreachable, time-exceeded, parameter-problem } accept
        icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem, nd-neighbor-solicit, nd-neighbor-advert } accept
        icmp type echo-reply ip saddr . ip daddr @pings4 accept
        icmpv6 type echo-reply ip6 saddr . ip6 daddr @pings6 accept
        ip saddr . ip daddr . meta l4proto . th sport . th dport @replies4 accept
        ip6 saddr . ip6 daddr . meta l4proto . th sport . th dport @replies6 accept
        ip saddr . ip daddr @peers4 accept
        ip6 saddr . ip6 daddr @peers6 accept
        ip daddr @network_peers4 accept
        ip6 daddr @network_peers6 accept
        ip saddr . ip daddr . meta l4proto . th dport @allowed4 accept
        ip6 saddr . ip6 daddr . meta l4proto . th dport @allowed6 accept
        ip daddr . meta l4proto . th dport @network_allowed4 accept
        ip6 daddr . meta l4proto . th dport @network_allowed6 accept
        meta mark and 0x08000000 == 0x08000000 accept
        drop
    }
)";

// A connection to a guarded port that the host's input rules have let through (they are at priority 0) comes in once more
// by a link of ours, where it is translated; what follows is translated by connection tracking. Tables of families ip and
// ip6, because "dup" is of those.
constexpr std::string_view guard_table = R"(
    set guarded { type inet_proto . inet_service; }
    set guarded_at { type ADDRESS . inet_proto . inet_service; }
    chain admission {
        type filter hook input priority 300; policy accept;
        iifname { "lo", "LOOPi" } accept
        ct state != new accept
        meta l4proto . th dport @guarded jump again
        FAMILY daddr . meta l4proto . th dport @guarded_at jump again
    }
    chain again {
        dup to GATEWAY device "LOOP"
        drop
    }
)";
constexpr const char* loop_gateway4 = "169.254.86.83";
constexpr const char* loop_gateway6 = "fe80::8683";

std::string replaced(std::string text, std::string_view from, std::string_view to) {
    for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) text.replace(at, from.size(), to);
    return text;
}

/// Without the rules of a link that is not there.
std::string with_loop(const std::string& body, const std::string& loop) {
    if (!loop.empty()) return replaced(body, "LOOP", loop);
    std::vector<std::string> lines = split(body, '\n');
    std::erase_if(lines, [](const std::string& line) { return line.contains("LOOP"); });
    return join(lines, "\n");
}

NftBytes name(std::string_view link) { return NftBytes().interface(link); }
NftBytes pair(std::string_view one, std::string_view other) { return NftBytes().interface(one).interface(other); }

NftElement inet(std::string_view set, NftBytes key, NftBytes value = {}) {
    return {.family = NftFamily::inet, .set = set, .key = std::move(key), .value = std::move(value)};
}
NftElement bridge(std::string_view set, NftBytes key, NftBytes value = {}) {
    return {.family = NftFamily::bridge, .set = set, .key = std::move(key), .value = std::move(value)};
}

/// nft(8) wants an address that is compared with bytes of a packet as a number.
std::string text_of(const NftElement& element) {
    std::string key = element.key.text();
    if (element.set == "targets6") {
        const auto bytes = std::span(element.key.bytes()).last(16);
        key.erase(key.rfind(' ') + 1);
        key += "0x";
        for (const std::byte each : bytes) key += fmt::format("{:02x}", std::to_integer<unsigned>(each));
    }
    return element.value.text().empty() ? key : fmt::format("{} : {}", key, element.value.text());
}

/// One line for each set.
std::string element_lines(const std::string& table, Elements elements) {
    std::ranges::sort(elements);
    std::string out;
    for (auto each = elements.begin(); each != elements.end();) {
        const auto end = std::find_if(each, elements.end(),
                                      [&](const NftElement& other) { return other.set != each->set || other.family != each->family; });
        std::vector<std::string> texts;
        for (const NftElement& element : std::span(each, end)) texts.push_back(text_of(element));
        out += fmt::format("add element {} {} {} {{ {} }}\n", to_string(each->family), table, each->set, join(texts, ", "));
        each = end;
    }
    return out;
}

}  // namespace

std::string table_name(const std::string& bridge) { return "grua_" + bridge; }

std::string loop_name(const std::string& bridge) {
    // Up to 14 characters, others for each daemon.
    return fmt::format("grl{:08x}", static_cast<std::uint32_t>(std::hash<std::string>{}(bridge)));
}

std::optional<OptionalRules> needed_rules(const NftElement& element) {
    if (element.set.starts_with("shares")) return OptionalRules::shares;
    if (element.family == NftFamily::bridge && (element.set == "closed" || element.set.starts_with("restricted")))
        return OptionalRules::neighbours;
    return std::nullopt;
}

std::string ruleset(const std::string& table, const Elements& elements, const std::string& loop) {
    std::string out;
    const auto add = [&](std::string_view family, const std::string& body) {
        // "table" first, because deleting one that is not there is an error.
        out += fmt::format("table {0} {1}\ndelete table {0} {1}\ntable {0} {1} {{{2}}}\n", family, table, body);
    };
    const auto needs = [&](OptionalRules rules) { return std::ranges::count(elements, rules, needed_rules) != 0; };
    const bool has_shares = needs(OptionalRules::shares);
    const auto with = [](std::string_view body, bool is_wanted, std::string_view part) {
        return std::string(body).append(is_wanted ? part : std::string_view());
    };
    add("inet", with_loop(with(inet_table, has_shares, inet_shares), loop));
    add("bridge", with(with(bridge_table, has_shares, bridge_shares), needs(OptionalRules::neighbours), bridge_neighbours));
    if (!loop.empty()) {
        for (const auto& [family, type, gateway] :
             {std::tuple{"ip", "ipv4_addr", loop_gateway4}, std::tuple{"ip6", "ipv6_addr", loop_gateway6}}) {
            std::string body = replaced(std::string(guard_table), "ADDRESS", type);
            body = replaced(replaced(body, "FAMILY", family), "GATEWAY", gateway);
            add(family, replaced(body, "LOOP", loop));
        }
    }
    return out + element_lines(table, elements);
}

std::size_t rule_count_of(const std::string& ruleset) {
    std::size_t count = 0;
    bool in_inet = false;
    bool in_chain = false;
    for (const std::string& line : split(ruleset, '\n')) {
        const std::string_view text = trim(line);
        if (text.starts_with("table ")) in_inet = text.starts_with("table inet") && text.ends_with('{');
        if (text.starts_with("chain ")) in_chain = true;
        if (text == "}") in_chain = false;
        if (in_inet && in_chain && !text.starts_with("chain ") && !text.starts_with("type ")) ++count;
    }
    return count;
}

Elements network_elements(const NetworkRules& network) {
    const BridgeSettings& settings = network.settings;
    Elements out{inet("bridges", name(network.link)), inet("same", pair(network.link, network.link))};
    // "closed" has ports of bridges. The bridge itself stands there for the rules to be there while the network is, whoever comes and goes.
    out.push_back(settings.icc ? inet("open", pair(network.link, network.link)) : bridge("closed", name(network.link)));
    if (network.internal) {
        out.push_back(inet("internal", name(network.link)));
        return out;
    }
    for (const std::string& each : settings.trusted) out.push_back(inet("trusted", pair(each, network.link)));
    struct Family {
        bool on;
        GatewayMode mode;
        std::optional<Ip> source;
        std::string_view source_map, masquerade, routed, unprotected;
    };
    for (const Family& family :
         {Family{network.ipv4, settings.mode4, settings.source4, "source4", "masquerade4", "routed4", "unprotected4"},
          Family{network.ipv6, settings.mode6, settings.source6, "source6", "masquerade6", "routed6", "unprotected6"}}) {
        if (!family.on) continue;
        if (family.mode == GatewayMode::routed) out.push_back(inet(family.routed, name(network.link)));
        if (family.mode == GatewayMode::nat_unprotected) out.push_back(inet(family.unprotected, name(network.link)));
        if (family.mode == GatewayMode::routed || !settings.masquerade) continue;
        if (family.source) {
            out.push_back(inet(family.source_map, name(network.link), NftBytes().ip(*family.source)));
        } else {
            out.push_back(inet(family.masquerade, name(network.link)));
        }
    }
    return out;
}

Elements endpoint_elements(const EndpointRules& endpoint) {
    Elements out;
    if (endpoint.closed) out.push_back(bridge("closed", name(endpoint.link)));
    if (endpoint.share != 0) {
        const NftBytes share = NftBytes().priority(linux::share_class(endpoint.share));
        out.push_back(bridge("shares", name(endpoint.link), share));
        for (const Ip& each : endpoint.addresses) out.push_back(inet(each.is_v4() ? "shares4" : "shares6", NftBytes().ip(each), share));
    }
    if (endpoint.allow_spoofing) return out;
    out.push_back(bridge("ports", name(endpoint.link)));
    out.push_back(bridge("macs", name(endpoint.link).mac(endpoint.mac)));
    const auto add = [&](const Ip& address) {
        out.push_back(bridge(address.is_v4() ? "addresses4" : "addresses6", name(endpoint.link).mac(endpoint.mac).ip(address)));
        // What neighbour advertisements may speak of.
        if (address.is_v6()) out.push_back(bridge("targets6", name(endpoint.link).ip(address)));
    };
    std::ranges::for_each(endpoint.addresses, add);
    if (std::ranges::any_of(endpoint.addresses, &Ip::is_v6)) add(linux::link_local_of(endpoint.mac));
    return out;
}

Elements port_elements(const PortRules& port) {
    const bool v4 = port.address.is_v4();
    const NftBytes inside = NftBytes().ip(port.address).protocol(port.protocol).port(port.port);
    if (port.host_port == 0) return {inet(v4 ? "reachable4" : "reachable6", inside)};
    Elements out;
    const NftBytes target = NftBytes().ip(port.address).port(port.port);
    const NftFamily family = v4 ? NftFamily::ip : NftFamily::ip6;
    if (port.host_address) {
        const NftBytes key = NftBytes().ip(*port.host_address).protocol(port.protocol).port(port.host_port);
        if (port.guarded) out.push_back({.family = family, .set = "guarded_at", .key = key, .value = {}});
        out.push_back(inet(port.guarded ? (v4 ? "guarded4_at" : "guarded6_at") : (v4 ? "ports4_at" : "ports6_at"), key, target));
    } else {
        const NftBytes key = NftBytes().protocol(port.protocol).port(port.host_port);
        if (port.guarded) out.push_back({.family = family, .set = "guarded", .key = key, .value = {}});
        out.push_back(inet(port.guarded ? (v4 ? "guarded4" : "guarded6") : (v4 ? "ports4" : "ports6"), key, target));
    }
    if (port.closed) out.push_back(bridge(v4 ? "exposed4" : "exposed6", inside));
    return out;
}

Elements allowed_elements(const AllowedRules& rules) {
    const bool v4 = rules.address.is_v4();
    const NftBytes target = NftBytes().ip(rules.address);
    struct Set {
        NftFamily family;
        std::string_view any, some;
        NftBytes key;
    };
    std::vector<Set> sets;
    if (rules.source) {
        const NftBytes both = NftBytes().ip(*rules.source).ip(rules.address);
        sets.push_back({NftFamily::inet, v4 ? "peers4" : "peers6", v4 ? "allowed4" : "allowed6", both});
        if (rules.is_neighbour) sets.push_back({NftFamily::bridge, v4 ? "peers4" : "peers6", v4 ? "allowed4" : "allowed6", both});
    } else {
        const std::string_view any = v4 ? "network_peers4" : "network_peers6";
        const std::string_view some = v4 ? "network_allowed4" : "network_allowed6";
        sets.push_back({NftFamily::inet, any, some, name(rules.source_link).ip(rules.address)});
        if (rules.is_neighbour) sets.push_back({NftFamily::bridge, any, some, target});
    }
    Elements out;
    for (const Set& each : sets) {
        if (rules.ports.empty()) out.push_back({.family = each.family, .set = each.any, .key = each.key, .value = {}});
        for (const auto& [protocol, port] : rules.ports)
            out.push_back({.family = each.family, .set = each.some, .key = NftBytes(each.key).protocol(protocol).port(port), .value = {}});
    }
    return out;
}

linux::NftElement linked_element(const Ip& address) { return bridge("linked4", NftBytes().ip(address)); }

linux::NftElement restricted_element(const Ip& address) {
    return bridge(address.is_v4() ? "restricted4" : "restricted6", NftBytes().ip(address));
}

}  // namespace grua::network
