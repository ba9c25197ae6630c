// Limits of what containers may do on their networks, as users write them: rates, and who may reach a container.
// Values and checks only; limits.cpp and allow.cpp bring them to the kernel.
#pragma once

#include "linux/netlink.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace grua::network {

/// Of a container on each of its networks, or of all of a network; a rate of 0 bits is no limit.
struct RateLimits {
    linux::Rate in;   ///< Towards containers.
    linux::Rate out;  ///< From containers.
    bool any() const noexcept { return in.bits != 0 || out.bits != 0; }
    bool operator==(const RateLimits&) const = default;
};

/// Bits per second: "10mbit", "1.5gbit", "500k" or "1000000"; as tc(8), "mbps" is a million bytes and "mibit" 1,048,576 bits. "0" and
/// "none" are no limit. Nothing where it is none of these, or above 100 Tbit/s.
std::optional<std::uint64_t> parse_rate(std::string_view text) noexcept;

/// Each as users write it, empty where they did not; the burst is in bytes, "64k". Throws Error(invalid_argument) that names the one.
RateLimits parse_limits(std::string_view in, std::string_view out, std::string_view burst);

/// Containers that may reach one that has a policy.
struct AllowedPeer {
    enum class Kind : std::uint8_t { network, container, label };
    Kind kind = Kind::network;
    std::string name;                                           ///< Of the network or container; the label's key.
    std::optional<std::string> value;                           ///< Of the label; none: any.
    std::vector<std::pair<std::uint8_t, std::uint16_t>> ports;  ///< Protocol and port; none: all.
    bool operator==(const AllowedPeer&) const = default;
};
using Policy = std::vector<AllowedPeer>;

/// "network=front,port=80/tcp", "container=web", "label=tier=web,port=8000-8010,port=53/udp"; "none" alone: nobody. Throws
/// Error(invalid_argument) that shows the text.
Policy parse_policy(const std::vector<std::string>& texts);

}  // namespace grua::network
