// Which addresses of a subnet are taken, and which subnets are free. Values only: no clock, no kernel.
#pragma once

#include "linux/ip_address.hpp"

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <vector>

namespace grua::network {

/// Gives out addresses one after the other and comes back to freed ones only after a round through the range, so that
/// what somebody remembers about an address stays true as long as possible. The network's own address and an IPv4
/// broadcast are never given. Costs memory for taken addresses only.
class AddressPool {
public:
    /// `range`: the part of the subnet that allocate() gives from; the subnet itself where there is none.
    /// Throws Error(invalid_argument) where the subnet has no room for a gateway and a container, or the range is not in it.
    explicit AddressPool(linux::IpPrefix subnet, std::optional<linux::IpPrefix> range = {});

    enum class Reserved { yes, taken, outside };
    /// `outside`: not in the subnet, or one that it gives to nobody.
    Reserved reserve(linux::Ip address);

    std::optional<linux::Ip> allocate();
    void release(linux::Ip address);

    const linux::IpPrefix& subnet() const noexcept { return subnet_; }

private:
    bool usable(linux::Ip address) const noexcept;

    linux::IpPrefix subnet_;
    linux::Ip::Value first_ = 0, last_ = 0;  ///< Of the range, both included.
    linux::Ip::Value next_ = 0;
    std::set<linux::Ip::Value> taken_;
};

/// Subnets of `size` bits of prefix, cut from `base`: dockerd's --default-address-pool.
struct DefaultPool {
    linux::IpPrefix base;
    unsigned size = 0;
};

/// Where none is configured: for the default bridge large ones, 172.17.0.0/16 first, as Docker has them.
const std::vector<DefaultPool>& default_bridge_pools();
/// For other networks small ones, so that thousands have room: the /24 of 172.18.0.0 to 172.31.255.255 and of 192.168.0.0/16.
const std::vector<DefaultPool>& network_pools();

/// "base=10.99.0.0/16,size=24". Throws Error(invalid_argument).
DefaultPool parse_default_pool(std::string_view text);

/// The first subnet of the pools of the family that meets none of `used`. Throws Error(unavailable) where all do.
linux::IpPrefix choose_subnet(std::span<const DefaultPool> pools, linux::Ip::Family family, std::vector<linux::IpPrefix> used);

/// A /64 of a unique local /48 that is made of `id`, as Docker makes one of the host's: fd, 40 bits, then 16 bits that are free.
linux::IpPrefix choose_unique_local(std::string_view id, std::vector<linux::IpPrefix> used);

}  // namespace grua::network
