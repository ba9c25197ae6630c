// The embedded DNS server of containers: 127.0.0.11 in each one's network namespace, one thread for all of them.
//
// It answers the names of the container's networks itself and hands every other question to the host's upstream servers,
// asked from the host's network namespace, so that a resolver on the host's loopback works; or to the container's own
// (--dns), asked from its namespace. A container whose networks are all internal has no way out by this: its questions
// never leave the host (CVE-2024-29018).
//
// What is kept true:
// - a container sees the names of the networks that it is on, and no other's;
// - one container's flood, or its dead upstream, takes nothing from the others: each has its own queue and bounds;
// - what comes from a container or an upstream is bounded and parsed by a library; what cannot be parsed is dropped or
//   answered FORMERR, never passed on.
//
// Thread-safe; calls return at once and take effect before the next question is answered.
#pragma once

#include "base/fd.hpp"
#include "linux/ip_address.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace grua::network {

struct ResolverOptions {
    /// The host's resolv.conf text, read again when it changes; see host_resolv_conf(). Called from the resolver's thread.
    std::function<std::string()> host_resolv_conf;
    std::vector<std::string> watched;  ///< Files whose change (looked at twice a second at most) makes it read again.
};

/// A container's place on one network, as the names see it.
struct NamedEndpoint {
    std::string network_id;
    std::string network_name;  ///< "web.NETWORK" resolves, too.
    std::vector<std::string>
        names;               ///< Its name, its short ID, its aliases; several endpoints may share one (services), in any case of letters.
    std::string hostname;    ///< What a reverse lookup answers before ".NETWORK"; the container's name.
    std::string ipv4, ipv6;  ///< Empty where it has none.
};

/// What a container's own questions are answered with.
struct ResolverView {
    std::vector<std::string> networks;         ///< IDs, in the order in which they are asked.
    std::map<std::string, std::string> links;  ///< Names of its own for others: alias → one of the names on its networks.
    std::vector<std::string> upstreams;  ///< --dns: asked from the container's namespace, instead of the host's from the host's. Addresses,
                                         ///< with an optional port: "198.51.100.1", "198.51.100.1:5353", "[fd00:99::1]:53".
    bool forward = true;                 ///< False where all its networks are internal: the host's servers are not asked.
};

/// Where a container asks. Held by what outlives this process, they keep its questions until the next one is there.
struct ResolverSockets {
    Fd udp, tcp;
    explicit operator bool() const noexcept { return udp && tcp; }
};

class Resolver {
public:
    /// Where in a container it listens; the address is Docker's.
    static constexpr const char* address = "127.0.0.11";
    /// The domain of all names, for the host: ".internal" belongs to nobody.
    static constexpr std::string_view host_domain = "grua.internal";

    /// The calling thread's network namespace is the host's: upstreams are asked from it.
    explicit Resolver(ResolverOptions options);
    ~Resolver();
    Resolver(const Resolver&) = delete;
    Resolver& operator=(const Resolver&) = delete;

    /// Starts to answer in the network namespace `netns`, which the call does not keep. Once for each container; lo must be up.
    /// Port 53 of the namespace stays free for programs of the container's own: see resolver.cpp.
    /// `sockets`: what sockets() of a process before gave.
    void serve(const std::string& container_id, int netns, ResolverView view, ResolverSockets sockets = {});
    /// Duplicates; empty where the container is not served.
    ResolverSockets sockets(const std::string& container_id) const;
    /// Of a container that is served: takes the place of the view before.
    void change(const std::string& container_id, ResolverView view);
    /// Answers programs of the host at an IPv4 address: the names of all containers, "web", "web.NETWORK", and both before
    /// ".grua.internal", and reverse lookups of their addresses. Every other question is refused, none is handed on. Throws Error where the
    /// address is taken.
    void serve_host(const linux::Ip& ip, std::uint16_t port);

    /// Nothing where it is not served.
    void end(const std::string& container_id);

    /// Sets, or replaces, the names of a container on a network.
    void set_names(const std::string& container_id, NamedEndpoint endpoint);
    void remove_names(const std::string& container_id, const std::string& network_id);

private:
    class Loop;
    std::unique_ptr<Loop> loop_;
};

}  // namespace grua::network
