// Trying who reaches whom.
#pragma once

#include "linux/ip_address.hpp"

#include <chrono>
#include <cstdint>
#include <set>
#include <vector>

namespace grua::network {

/// TCP ports that the network namespace `netns` listens on at other addresses than loopback, in order.
std::vector<std::uint16_t> listening_ports(int netns);

/// Those of `ports` that take a TCP connection from the network namespace `netns` within `patience`, all tried at once. Nothing is sent.
std::set<std::uint16_t> connectable(int netns, const linux::Ip& address, const std::vector<std::uint16_t>& ports,
                                    std::chrono::milliseconds patience);

}  // namespace grua::network
