// A port of one address in a network namespace that leads to another, without connection tracking.
#pragma once

#include "linux/ip_address.hpp"

#include <cstdint>
#include <string_view>

namespace grua::linux {

struct PortRedirect {
    Ip address;  ///< IPv4, of the namespace itself.
    std::uint16_t port = 0;
    std::uint16_t udp_target = 0, tcp_target = 0;
};

/// In the calling thread's network namespace: packets of its own programs to `port` go to the targets, and answers come back
/// as if from `port`, so `port` itself stays free for others. A table `name` of family ip, in the place of one that is there.
/// The ports are rewritten packet by packet, both ways on their way out (what is local goes out and comes in again), so the
/// namespace pays for no connection tracking. One transaction of about 1 kB; libnftables would need a context for each.
void redirect_port(std::string_view name, const PortRedirect& redirect);

}  // namespace grua::linux
