// Networks of one host and the containers on them: addresses, links, sandboxes, firewall, published ports.
//
// A sandbox is a network namespace with a container's interfaces in it. It is held by descriptors only - gruad's until the
// container runs, the container's processes afterwards - so it cannot outlive both, and its links die with it. What the
// kernel does slowly is done ahead of need (a pool of ready sandboxes) or after nobody waits for it (deferred, batched
// deletion).
//
// What is kept true:
// - an address is given out at most once, and again only after its link is known to be gone or is being deleted;
// - a subnet that is chosen here meets no address and no route of the host, and no other network;
// - every link of ours carries its owner in its alias, "grua:<bridge>:<container ID>:<network ID>" or
//   "grua:<bridge>:network:<network ID>", so the sweep at recover() is exact;
// - the rules are in tables of our own, "grua_<bridge>", so several daemons with different bridges stand beside each other;
// - a container's interfaces have no IPv6 where its network has none (CVE-2024-32473) and accept no router
//   advertisements (CVE-2020-13401).
//
// All calls are synchronous and may come from any thread.
#pragma once

#include "base/fd.hpp"
#include "base/text.hpp"
#include "network/address_pool.hpp"
#include "network/config.hpp"
#include "network/ports.hpp"
#include "network/resolver.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::store {
class Database;
}

namespace grua::network {

/// Who decides whether a connection from outside reaches a published port.
enum class PublishPolicy : std::uint8_t {
    docker,      ///< Nobody: it is translated before the host's input rules see it, as with Docker.
    host_input,  ///< The host's input rules, as if a program of the host listened on that port.
};
std::optional<PublishPolicy> parse_publish_policy(std::string_view text) noexcept;

/// "127.0.0.153" or "127.0.0.153:5353".
struct HostDns {
    linux::Ip ip;
    std::uint16_t port = 53;
};
/// Throws Error(invalid_argument).
HostDns parse_host_dns(std::string_view text);

struct Options {
    std::string bridge = "grua0";  ///< Kernel name of the default bridge; an existing bridge is adopted.
    bool default_bridge = true;    ///< There is one. Its name stands in our links' aliases and tables in any case.
    std::string bip;               ///< Gateway address and prefix, "172.26.0.1/16". Empty: the first default pool that is free here.
    std::string fixed_cidr;        ///< Addresses of its containers; its subnet, too, where nothing else says one.
    std::string default_gateway;   ///< Of its containers; empty: the bridge.
    bool ipv6 = false;             ///< The default bridge has IPv6: in the subnets that the three say, or in a unique local one.
    std::string bip6;
    std::string fixed_cidr6;
    std::string default_gateway6;
    unsigned mtu = 0;                       ///< Of the bridge and of its containers. 0: that of the default route's link, at most 1500.
    bool ip_forward = true;                 ///< Switch forwarding on where it is off.
    bool ip_masq = true;                    ///< Masquerade what leaves the default bridge's subnet.
    bool icc = true;                        ///< Containers of the default bridge reach each other.
    std::optional<linux::Ip> port_address;  ///< Where ports are published that name no address; none: everywhere.
    PublishPolicy publish_policy = PublishPolicy::docker;
    std::optional<HostDns> host_dns;                   ///< Where programs of the host are told containers' names; none: nowhere.
    std::map<std::string, StringMap> network_options;  ///< By driver: of networks that are made and do not say them.
    std::vector<DefaultPool> pools;         ///< Subnets for networks that ask for none; empty: default_bridge_pools() and network_pools().
    std::size_t ready_sandboxes = 4;        ///< Kept ready when idle; 0 makes each when it is asked for.
    std::size_t most_ready_sandboxes = 16;  ///< The pool grows to this while starts find it empty.
};

/// A container's connection to a network, as Docker's EndpointSettings show it. Empty texts for what it has not.
struct Endpoint {
    std::string endpoint_id;
    std::string network_id;
    std::string network;  ///< Its name.
    std::string ip;       ///< "172.17.0.2"
    unsigned prefix_length = 0;
    std::string gateway;  ///< "172.17.0.1"
    std::string ipv6;
    unsigned ipv6_prefix_length = 0;
    std::string ipv6_gateway;
    std::string mac;        ///< "02:42:ac:11:00:02"
    std::string interface;  ///< Its name in the container.
    std::int64_t gw_priority = 0;
};

struct EndpointRequest {
    std::string network;                       ///< Name or ID.
    std::vector<std::string> names;            ///< That the network's other containers find it by; none on the default bridge.
    std::map<std::string, std::string> links;  ///< Names of its own for others on the network: alias → name.
    std::string mac;                           ///< Empty: made from the address, 02:42:….
    std::string ip;                            ///< Empty: the next free one.
    std::string ipv6;
    std::vector<std::string> link_local_ips;
    std::int64_t gw_priority = 0;      ///< The default route is through the endpoint with the highest; by name among equals.
    std::string interface;             ///< Empty: the network's prefix and the first free number.
    std::vector<std::string> sysctls;  ///< "net.ipv4.conf.IFNAME.log_martians=1"
};

/// A container that is about to run.
struct SandboxRequest {
    std::string container_id;
    std::string name;  ///< What a reverse lookup of its addresses says. Empty: nobody asks for it, a build's step.
    std::vector<EndpointRequest> endpoints;
    std::vector<PortRequest> ports;                      ///< Published on the network of the default route.
    std::vector<std::string> nameservers;                ///< --dns
    std::optional<PublishPolicy> publish_policy;         ///< Of its ports; none: the daemon's.
    std::map<std::string, PublishPolicy> port_policies;  ///< Of single ones; key: "80/tcp".
    StringMap labels;
    RateLimits limits;                                            ///< On each of its networks.
    std::optional<Policy> policy;                                 ///< Who may reach it; none: its networks'.
    std::vector<std::pair<std::uint8_t, std::uint16_t>> exposed;  ///< Protocols and ports that its image or its user names.
    std::vector<std::string> links;  ///< IDs of containers on the default bridge whose exposed ports it reaches also where icc is off.
};

struct Sandbox {
    Fd sysfs;                         ///< Keeps the namespace's sysfs; to be closed when the container has mounted it. May be empty.
    Fd netns;                         ///< Of the network namespace: lo and the interfaces are up, addresses and routes are set.
    std::vector<Endpoint> endpoints;  ///< In the order of the requests.
    std::vector<PublishedPort> ports;
    ResolverSockets resolver;  ///< Of the container's own resolver, where it has one: see Networks::resolver_sockets().
};

/// What a container that runs holds, from the engine's records.
struct Attachment {
    SandboxRequest request;  ///< As its start asked; the ports are not looked at.
    std::vector<Endpoint> endpoints;
    std::vector<PublishedPort> ports;
    Fd netns;                  ///< Empty where it cannot be had: then its names are not resolved.
    ResolverSockets resolver;  ///< What resolver_sockets() gave to the process before this one.
};

/// What the limit of one direction has done, in packets.
struct LimitCounters {
    linux::Rate rate;
    std::uint64_t delayed = 0;
    std::uint64_t dropped = 0;
};
struct LimitedInterface {
    std::string interface;  ///< In the container.
    LimitCounters in, out;
};

/// One way from one to another: "host", "outside" or a container's ID.
struct Reach {
    std::string from, to;
    std::string by;                  ///< "network front", "policy", "published", "routed"
    std::string address;             ///< That is spoken to; 0.0.0.0 and :: are any of the host's.
    bool all = false;                ///< Every port, and what has none.
    std::vector<std::string> ports;  ///< "80/tcp", where not all.
};

/// Docker's Network, for list and inspect.
struct Network : NetworkConfig {
    std::map<std::string, Endpoint> containers;  ///< By container ID; those of host and none are known to the engine only.
};

class Networks {
public:
    /// Makes or adopts the default bridge and those of the stored networks, and starts to fill the pool. Network namespaces
    /// are seen from the calling thread's: what it is in is "the host". Throws Error.
    Networks(Options options, store::Database& database);
    /// Ends the pool. Running containers keep their connection; bridges and rules stay for the next gruad.
    ~Networks();
    Networks(const Networks&) = delete;
    Networks& operator=(const Networks&) = delete;

    /// Once, before the first attach: takes over what the containers that still run have, writes the rules, and removes the
    /// links that belong to nobody.
    void recover(std::vector<Attachment> live);

    // --- networks ---------------------------------------------------------------------------------------------

    /// Throws Error: conflict where the name is taken, forbidden for a predefined one or a subnet that is in use,
    /// invalid_argument that names the option.
    Network create(NetworkConfig request);
    /// Throws Error: forbidden where it is predefined or in use.
    void remove(std::string_view reference);

    /// Options that may change while containers are on the network: grua.network.rate_in and its like; an empty value takes one away.
    /// Throws Error(invalid_argument) for others.
    Network update(std::string_view reference, const StringMap& options);

    std::vector<Network> list() const;
    /// The same without their containers, which costs nothing where there are a thousand.
    std::vector<NetworkConfig> configs() const;
    /// By name, ID or unique prefix of the ID. Throws Error(not_found) "network x not found", invalid_argument where a prefix is ambiguous.
    Network find(std::string_view reference) const;
    /// The same without its containers, which costs nothing where there are a thousand.
    NetworkConfig find_config(std::string_view reference) const;

    // --- containers -------------------------------------------------------------------------------------------

    /// A sandbox on the networks asked for, with a resolver where one of them is not the default bridge. Throws Error: not_found for a
    /// network, invalid_argument for a bad address, forbidden (as Docker) where one is taken, conflict where a port is,
    /// unavailable where no address is left.
    Sandbox attach(const SandboxRequest& request);

    /// One more network for a container that runs in `netns`, or one less.
    Endpoint connect(const std::string& container_id, int netns, const EndpointRequest& request);
    void disconnect(const std::string& container_id, int netns, std::string_view network);

    /// What it is found by from now on: its name, and the names on each network by the network's name. Nothing where it has no sandbox.
    void rename(const std::string& container_id, const std::string& name, const std::map<std::string, std::vector<std::string>>& names);

    /// Ends all of a container's connections; nothing where it has none. Returns at once: a link that is still there later,
    /// because somebody holds its namespace, is removed behind.
    void release(const std::string& container_id);

    /// The connections that attach(), connect() or recover() gave.
    std::vector<Endpoint> endpoints(const std::string& container_id) const;

    /// Where the container asks for names, once it has a network with some; duplicates. What outlives this process holds them, and its
    /// questions wait then until recover() has them again.
    ResolverSockets resolver_sockets(const std::string& container_id) const;

    /// Whether one of the container's networks leads out.
    bool can_publish(const std::string& container_id) const;

    /// Of the ports that a container that runs has, `removed` end and `added` begin; what it has afterwards.
    std::vector<PublishedPort> change_ports(const std::string& container_id, const std::vector<PublishedPort>& removed,
                                            const std::vector<PortRequest>& added);

    /// All ports of one become the other's, in one transaction: no new connection finds nobody. What the other has afterwards.
    std::vector<PublishedPort> move_ports(const std::string& from, const std::string& to);

    /// Of a container that runs, from now on.
    void set_limits(const std::string& container_id, const RateLimits& limits);
    void set_policy(const std::string& container_id, const std::optional<Policy>& policy);

    /// What the limits of a container's rates do.
    std::vector<LimitedInterface> limited(const std::string& container_id);

    /// Every way that the rules leave open to containers, and out of them; between two containers without one that too, with `by` empty.
    std::vector<Reach> reach() const;

    /// The default bridge's own address: what `host-gateway` means in extra hosts. Empty where there is none.
    std::string gateway() const;

    /// Takes bridges and rules away. For tests and for uninstalling; refused where containers are attached.
    void remove_all();

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace grua::network
