// Published ports: which of the host's ports belong to which container.
//
// A port that is given out is held by a socket of ours, so no program of the host takes it meanwhile; what arrives there
// although the firewall should have sent it on is dropped by the socket's filter, unlike refused: the client tries again.
// The sockets end with gruad, the ports work on, and reserve() of the next gruad takes them again.
// Thread-safe. The host's network namespace is that of the thread that calls.
#pragma once

#include "base/fd.hpp"
#include "base/mutex.hpp"
#include "linux/ip_address.hpp"
#include "network/proxy.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace grua::network {

/// What is asked for: -p [host_ip:][first[-last]:]port[/protocol].
struct PortRequest {
    std::uint8_t protocol = 0;  ///< IPPROTO_TCP, _UDP or _SCTP.
    std::uint16_t port = 0;     ///< The container's.
    std::optional<linux::Ip> host_ip;
    std::uint16_t first = 0, last = 0;  ///< Of the host; 0: any free one.
    friend auto operator<=>(const PortRequest&, const PortRequest&) = default;
};

struct PublishedPort {
    std::uint8_t protocol = 0;
    std::uint16_t port = 0;
    linux::Ip host_ip;            ///< 0.0.0.0 and :: are all of the family.
    std::uint16_t host_port = 0;  ///< 0: the network is routed, nothing is taken of the host.
    friend auto operator<=>(const PublishedPort&, const PublishedPort&) = default;
};

std::string_view protocol_name(std::uint8_t protocol);
std::optional<std::uint8_t> parse_protocol(std::string_view text);

/// "8080" or "8080-8090"; empty is 0-0. Throws Error(invalid_argument).
std::pair<std::uint16_t, std::uint16_t> parse_port_range(std::string_view text);

class HostPorts {
public:
    /// One port number for all of `addresses`. Throws Error(conflict) "Bind for 0.0.0.0:80 failed: port is already allocated",
    /// or what the host's kernel says.
    std::vector<PublishedPort> reserve(const PortRequest& request, const std::vector<linux::Ip>& addresses);
    /// Whoever connects to a port that is held is sent on by the proxy; without a target what arrives is dropped again. Logs what fails.
    void forward(const PublishedPort& port, const std::optional<Proxy::Target>& target);
    /// What a container that runs has; a port that somebody took meanwhile is logged.
    void restore(const PublishedPort& port);
    void release(const PublishedPort& port);

private:
    struct Key {
        std::uint8_t protocol;
        linux::Ip host_ip;
        std::uint16_t port;
        friend auto operator<=>(const Key&, const Key&) = default;
    };
    void end_forward(const Key& key) GRUA_REQUIRES(mutex_);
    std::optional<linux::Ip> taken(std::uint8_t protocol, const std::vector<linux::Ip>& addresses, std::uint16_t port) const
        GRUA_REQUIRES(mutex_);

    Mutex mutex_;
    std::map<Key, Fd> held_ GRUA_GUARDED_BY(mutex_);
    std::map<Key, std::uint64_t> forwarded_ GRUA_GUARDED_BY(mutex_);
    std::map<std::tuple<std::uint8_t, std::uint16_t>, std::vector<linux::Ip>> by_port_ GRUA_GUARDED_BY(mutex_);
    std::uint16_t next_ GRUA_GUARDED_BY(mutex_) = 0;
    Proxy proxy_ GRUA_GUARDED_BY(mutex_);
};

}  // namespace grua::network
