// Which addresses of a subnet are taken. Values only: no clock, no kernel.
#pragma once

#include "linux/netlink_address.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace grua::network {

/// Gives out addresses one after the other and comes back to freed ones only after a round through the subnet, so that
/// what somebody remembers about an address stays true as long as possible. The network's own address and broadcast are never given.
class AddressPool {
public:
    static constexpr unsigned shortest_prefix = 8;  ///< 2 MB of bits.

    /// Throws Error(invalid_argument) where the subnet is too large, or has no room for a gateway and a container.
    explicit AddressPool(linux::Ipv4Prefix subnet);

    enum class Reserved { yes, taken, outside };
    /// `outside`: not in the subnet, or one that it gives to nobody.
    Reserved reserve(linux::Ipv4 address);

    std::optional<linux::Ipv4> allocate();
    void release(linux::Ipv4 address);

    const linux::Ipv4Prefix& subnet() const noexcept { return subnet_; }
    std::size_t free() const noexcept { return free_; }

private:
    bool usable(linux::Ipv4 address) const noexcept;
    bool take(std::uint32_t offset);

    linux::Ipv4Prefix subnet_;
    std::uint32_t size_ = 0;
    std::uint32_t next_ = 1;
    std::size_t free_ = 0;
    std::vector<std::uint64_t> taken_;
};

/// The first of Docker's default pools that meets none of `used`. Throws Error(unavailable) where all do.
linux::Ipv4Prefix choose_subnet(std::span<const linux::Ipv4Prefix> used);

}  // namespace grua::network
