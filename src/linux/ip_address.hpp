// IP and hardware addresses as values. Each is made by a parser that checks; text from outside goes through it.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace grua::linux {

struct Mac {
    std::array<std::uint8_t, 6> bytes{};

    /// Six pairs of hex digits with ':' or '-' between. Not a group address: an interface cannot have one.
    static std::optional<Mac> parse(std::string_view text);
    static Mac random();  ///< 02:42:…
    std::string text() const;
    friend auto operator<=>(const Mac&, const Mac&) = default;
};

/// An IPv4 or IPv6 address, in host byte order, so that it can be counted with.
struct Ip {
    enum class Family : std::uint8_t { v4, v6 };
    using Value = unsigned __int128;

    Family family = Family::v4;
    Value value = 0;

    static std::optional<Ip> parse(std::string_view text);  ///< A dotted quad, or IPv6 without a zone.
    static constexpr Ip v4(std::uint32_t value) noexcept { return {Family::v4, value}; }
    static Ip from_bytes(std::span<const std::byte> bytes);  ///< 4 or 16, in network order. Throws Error(system) for another number.

    bool is_v4() const noexcept { return family == Family::v4; }
    bool is_v6() const noexcept { return family == Family::v6; }
    unsigned bits() const noexcept { return is_v4() ? 32 : 128; }
    bool is_unspecified() const noexcept { return value == 0; }
    bool is_loopback() const noexcept { return is_v4() ? value >> 24U == 127 : value == 1; }
    bool is_link_local() const noexcept { return is_v4() ? value >> 16U == 0xa9fe : value >> 118U == 0x3fa; }  ///< 169.254/16, fe80::/10.
    std::vector<std::byte> bytes() const;  ///< 4 or 16, in network order.
    std::string text() const;
    friend auto operator<=>(const Ip&, const Ip&) = default;
};

/// An address and the length of its network's prefix. As a subnet its host bits are zero.
struct IpPrefix {
    Ip address;
    unsigned length = 0;  ///< 0 to 32, or to 128.

    static std::optional<IpPrefix> parse(std::string_view text);  ///< "172.17.0.1/16"; host bits are kept.
    std::string text() const;
    unsigned host_bits() const noexcept { return address.bits() - length; }
    Ip::Value host_mask() const noexcept { return host_bits() == 128 ? ~Ip::Value{0} : (Ip::Value{1} << host_bits()) - 1; }
    IpPrefix subnet() const noexcept { return {{address.family, address.value & ~host_mask()}, length}; }
    Ip last() const noexcept { return {address.family, address.value | host_mask()}; }
    bool contains(Ip other) const noexcept {
        return other.family == address.family && (other.value & ~host_mask()) == (address.value & ~host_mask());
    }
    bool overlaps(const IpPrefix& other) const noexcept {
        return length <= other.length ? contains(other.address) : other.contains(address);
    }
    friend auto operator<=>(const IpPrefix&, const IpPrefix&) = default;
};

/// 02:42 and the four bytes of an IPv4 address, as Docker had them: the same address has the same MAC, so nobody's ARP
/// table is wrong when the address goes to another container. Of an IPv6 address the last four bytes.
Mac mac_of(Ip address) noexcept;

/// The link-local address that the kernel makes of a MAC (EUI-64).
Ip link_local_of(const Mac& mac) noexcept;

}  // namespace grua::linux
