// IPv4 and hardware addresses as values. Each is made by a parser that checks; text from outside goes through it.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace grua::linux {

/// In host byte order, so that it can be counted with.
struct Ipv4 {
    std::uint32_t value = 0;

    static std::optional<Ipv4> parse(std::string_view text);  ///< Dotted quad only.
    std::string text() const;
    friend auto operator<=>(const Ipv4&, const Ipv4&) = default;
};

/// An address and the length of its network's prefix. As a subnet its host bits are zero.
struct Ipv4Prefix {
    Ipv4 address;
    unsigned length = 0;  ///< 0 to 32.

    static std::optional<Ipv4Prefix> parse(std::string_view text);  ///< "172.17.0.1/16"; host bits are kept.
    std::string text() const;
    std::uint32_t mask() const noexcept { return length == 0 ? 0 : ~std::uint32_t{0} << (32 - length); }
    Ipv4Prefix subnet() const noexcept { return {{address.value & mask()}, length}; }
    Ipv4 broadcast() const noexcept { return {address.value | ~mask()}; }
    bool contains(Ipv4 other) const noexcept { return (other.value & mask()) == (address.value & mask()); }
    bool overlaps(const Ipv4Prefix& other) const noexcept {
        return length <= other.length ? contains(other.address) : other.contains(address);
    }
    friend auto operator<=>(const Ipv4Prefix&, const Ipv4Prefix&) = default;
};

struct Mac {
    std::array<std::uint8_t, 6> bytes{};

    /// Six pairs of hex digits with ':' or '-' between. Not a group address: an interface cannot have one.
    static std::optional<Mac> parse(std::string_view text);
    /// 02:42 and the four bytes of the address, as Docker has them: the same address has the same MAC, so nobody's
    /// ARP table is wrong when the address goes to another container.
    static Mac from_ip(Ipv4 address) noexcept;
    std::string text() const;
    friend auto operator<=>(const Mac&, const Mac&) = default;
};

}  // namespace grua::linux
