// The kernel's links, addresses and routes, by rtnetlink.
//
// A NetlinkBatch collects requests, Netlink::run sends them in one system call and reads every answer. Each request
// carries in words what it does, so an error names its object: "create veth veth1a2b: file exists". Answers are parsed
// strictly: what does not fit its announced length is an error, never read past.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "linux/ip_address.hpp"
#include "linux/netlink_socket.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace grua::linux {

struct Link {
    int index = 0;
    std::string name;
    std::string kind;   ///< "bridge", "veth"; empty for hardware and lo.
    std::string alias;  ///< Who owns it; empty where nobody says.
    int master = 0;     ///< Index of the bridge it is a port of; 0 for none.
    unsigned mtu = 0;
    Mac mac;
    bool up = false;
};

struct LinkAddress {
    int link = 0;
    IpPrefix address;
    bool is_global = false;  ///< Of universal scope, and given without a time limit.
};

struct Route {
    IpPrefix destination;  ///< 0.0.0.0/0 or ::/0 for a default route.
    int link = 0;          ///< 0 where it has none, or several.
    unsigned table = 0;    ///< RT_TABLE_MAIN, RT_TABLE_LOCAL, …
};

/// A pair with one end here, down, and the other in the namespace of `peer_netns`, where it is made at once: a move
/// afterwards costs the kernel 35 ms.
struct VethPair {
    std::string_view name;
    std::string_view peer_name;
    int peer_netns = -1;
    unsigned mtu = 0;
};

/// A link on top of another one of the host: macvlan, ipvlan. It is made in the namespace of `netns` at once.
struct ChildLink {
    std::string_view kind;  ///< "macvlan" or "ipvlan"
    std::string_view name;  ///< Inside.
    int parent = 0;         ///< Index, outside.
    int netns = -1;
    unsigned mode = 0;   ///< MACVLAN_MODE_… or IPVLAN_MODE_….
    unsigned flags = 0;  ///< IPVLAN_F_….
    unsigned mtu = 0;    ///< 0: the parent's.
    std::optional<Mac> mac;
};

struct BridgeOptions {
    std::string_view name;
    Mac mac;  ///< Given, because a bridge without takes that of a port and changes it when ports come and go.
    unsigned mtu = 0;
};

struct Rate {
    std::uint64_t bits = 0;   ///< Per second.
    std::uint64_t burst = 0;  ///< Bytes that may go at once after a pause; 0: what 5 ms carry, at least 16 KiB.
    bool operator==(const Rate&) const = default;
};

/// A link's root queueing discipline.
struct Queue {
    std::string kind;           ///< "tbf", "htb", "noqueue"
    std::uint64_t dropped = 0;  ///< Packets.
    std::uint64_t delayed = 0;  ///< Packets that had to wait for the rate.
};

/// What is given is changed, all in one request.
struct LinkChange {
    std::optional<bool> up;
    std::optional<int> master;
    std::optional<unsigned> mtu;
    std::optional<Mac> mac;
    std::optional<std::string_view> alias;
    std::optional<std::uint32_t> group;
    bool no_arp = false;   ///< Every address on the link has the link's own MAC.
    bool hairpin = false;  ///< What came in by it may leave by it. It must be on its bridge before this request.
};

class NetlinkBatch {
public:
    void create_bridge(const BridgeOptions& bridge);
    void create_veth(const VethPair& pair);
    void change_link(std::string_view name, const LinkChange& change);
    void rename_link(int link, std::string_view name);  ///< Only while it is down, on kernels before 6.2.
    /// To the network namespace `netns`, where it has another name, is down and has no address. "%d" in the name is a number that is free.
    void move_link(int link, int netns, std::string_view name);
    void delete_link(std::string_view name);
    void delete_group(std::uint32_t group);
    void create_child(const ChildLink& link);
    void create_vlan(std::string_view name, int parent, std::uint16_t id);
    void create_link(std::string_view name, std::string_view kind);  ///< "dummy", "ifb"
    /// IPv6 without duplicate address detection: who gives the address knows that it is free.
    void add_address(int link, const IpPrefix& address);
    void remove_address(int link, const IpPrefix& address);
    /// In the place of one that is there.
    void set_default_route(Ip gateway, int link);
    void remove_default_route(Ip::Family family);
    /// Without a gateway: what is there is on the link.
    void add_route(const IpPrefix& destination, int link, std::uint32_t table = main_table);
    /// What has the bits of `mark` looks into a table first.
    void add_rule_for_mark(Ip::Family family, std::uint32_t mark, std::uint32_t table);
    void remove_rule_for_mark(Ip::Family family, std::uint32_t mark, std::uint32_t table);
    void set_default_route_on_link(Ip::Family family, int link);

    // Rates are of what a link sends, with link headers; netlink_traffic.cpp has the reasons.

    /// A token bucket for all; in the place of one that is there.
    void set_rate(int link, const Rate& rate);
    /// A rate that shares divide among those that send; what has no share is not limited. A packet belongs to the share
    /// that its priority names, see share_class().
    void set_shared_rate(int link, const Rate& rate);
    void set_share(int link, std::uint16_t share, const Rate& all);  ///< From 2 on.
    void remove_share(int link, std::uint16_t share);
    void remove_queue(int link);  ///< And its rate.
    /// What comes in by a link is sent by an ifb link before the host sees it, and so its rate can be limited.
    void redirect_incoming(int link, int ifb);
    void remove_redirect(int link);

    bool empty() const noexcept { return requests_.empty(); }

    static constexpr std::uint32_t main_table = 254;

private:
    friend class Netlink;
    struct Request {
        std::vector<std::byte> message;
        std::string doing;
    };
    void add_class(int link, std::uint32_t parent, std::uint16_t id, const Rate& rate, const Rate& ceiling);
    std::vector<Request> requests_;
    std::vector<Fd> held_;  ///< What the requests speak of by number.
};

/// The priority (nftables: "meta priority set") of packets of a share.
std::uint32_t share_class(std::uint16_t share) noexcept;

/// A socket in one network namespace: that of the thread that made it, wherever it is used later.
class Netlink {
public:
    Netlink();

    /// Runs all requests, in order; throws the first one's error after all were answered. A failed request does not
    /// stop those behind it (the kernel's rule), so a batch that failed is undone as a whole by its owner.
    void run(const NetlinkBatch& batch);

    std::vector<Link> links();
    std::optional<Link> link(std::string_view name);
    std::vector<LinkAddress> addresses();
    std::vector<Route> routes();           ///< Unicast.
    std::optional<Queue> queue(int link);  ///< Its root; nothing where it has none.

private:
    void run_some(std::span<const NetlinkBatch::Request> requests);

    NetlinkSocket socket_;
};

/// Tells when the host's routes change, or the MTU of one of its links.
class NetlinkWatch {
public:
    NetlinkWatch();
    int fd() const noexcept { return socket_.fd(); }  ///< Readable when there may be something.

    struct Changes {
        bool routes = false;                         ///< Or events were lost.
        std::vector<std::pair<int, unsigned>> mtus;  ///< Of links that changed in any way: index and MTU now.
    };
    Changes read();

private:
    NetlinkSocket socket_;
};

}  // namespace grua::linux
