// The kernel's links, addresses and routes, by rtnetlink.
//
// A NetlinkBatch collects requests, Netlink::run sends them in one system call and reads every answer. Each request
// carries in words what it does, so an error names its object: "create veth veth1a2b: file exists". Answers are parsed
// strictly: what does not fit its announced length is an error, never read past.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "linux/netlink_address.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace grua::linux {

struct Link {
    int index = 0;
    std::string name;
    std::string kind;   ///< "bridge", "veth"; empty for hardware and lo.
    std::string alias;  ///< Who owns it; empty where nobody says.
    int master = 0;     ///< Index of the bridge it is a port of; 0 for none.
    unsigned mtu = 0;
    bool up = false;
};

struct LinkAddress {
    int link = 0;
    Ipv4Prefix address;
};

struct Route {
    Ipv4Prefix destination;  ///< 0.0.0.0/0 for a default route.
    int link = 0;            ///< 0 where it has none, or several.
    unsigned table = 0;      ///< RT_TABLE_MAIN, RT_TABLE_LOCAL, …
};

/// A pair with one end here, down, and the other in the namespace of `peer_netns`, where it is made at once: a move
/// afterwards costs the kernel 35 ms.
struct VethPair {
    std::string_view name;
    std::string_view peer_name;
    int peer_netns = -1;
    unsigned mtu = 0;
};

struct BridgeOptions {
    std::string_view name;
    Mac mac;  ///< Given, because a bridge without takes that of a port and changes it when ports come and go.
    unsigned mtu = 0;
};

/// What is given is changed, all in one request.
struct LinkChange {
    std::optional<bool> up;
    std::optional<int> master;
    std::optional<unsigned> mtu;
    std::optional<Mac> mac;
    std::optional<std::string_view> alias;
    std::optional<std::uint32_t> group;
    bool isolated = false;  ///< Exchanges nothing with other isolated ports of its bridge, which it must be on before this request.
};

class NetlinkBatch {
public:
    void create_bridge(const BridgeOptions& bridge);
    void create_veth(const VethPair& pair);
    void change_link(std::string_view name, const LinkChange& change);
    void delete_link(std::string_view name);
    void delete_group(std::uint32_t group);
    void add_address(int link, Ipv4Prefix address);
    void remove_address(int link, Ipv4Prefix address);
    void add_default_route(Ipv4 gateway, int link);

    bool empty() const noexcept { return requests_.empty(); }

private:
    friend class Netlink;
    struct Request {
        std::vector<std::byte> message;
        std::string doing;
    };
    std::vector<Request> requests_;
};

/// A socket in one network namespace: that of the thread that made it, wherever it is used later.
class Netlink {
public:
    Netlink();

    /// Runs all requests, in order; throws the first one's error after all were answered. A failed request does not
    /// stop those behind it (the kernel's rule), so a batch that failed is undone as a whole by its owner.
    void run(const NetlinkBatch& batch);

    std::vector<Link> links();
    std::optional<Link> link(std::string_view name);
    std::vector<LinkAddress> addresses();  ///< IPv4
    std::vector<Route> routes();           ///< IPv4, unicast.

private:
    void run_some(std::span<const NetlinkBatch::Request> requests);
    std::vector<std::byte> receive();
    template <typename OnMessage>
    void dump(std::span<const std::byte> request, std::string_view what, OnMessage on_message);

    Fd socket_;
    std::uint32_t sequence_ = 0;
};

}  // namespace grua::linux
