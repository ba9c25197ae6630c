#include "linux/netlink_address.hpp"

#include "base/text.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

namespace grua::linux {

namespace {

constexpr std::size_t longest_text = 32;  // Longer is no address; inet_pton wants a C string.

int hex_digit(char c) noexcept {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

}  // namespace

std::optional<Ipv4> Ipv4::parse(std::string_view text) {
    if (text.size() > longest_text || text.contains('\0')) return std::nullopt;
    in_addr address{};
    if (::inet_pton(AF_INET, std::string(text).c_str(), &address) != 1) return std::nullopt;
    return Ipv4{ntohl(address.s_addr)};
}

std::string Ipv4::text() const {
    return fmt::format("{}.{}.{}.{}", value >> 24U, value >> 16U & 0xffU, value >> 8U & 0xffU, value & 0xffU);
}

std::optional<Ipv4Prefix> Ipv4Prefix::parse(std::string_view text) {
    const auto slash = text.find('/');
    if (slash == std::string_view::npos) return std::nullopt;
    const auto address = Ipv4::parse(text.substr(0, slash));
    const auto length = parse_uint(text.substr(slash + 1));
    if (!address || !length || *length > 32) return std::nullopt;
    return Ipv4Prefix{*address, static_cast<unsigned>(*length)};
}

std::string Ipv4Prefix::text() const { return fmt::format("{}/{}", address.text(), length); }

std::optional<Mac> Mac::parse(std::string_view text) {
    if (text.size() != 17) return std::nullopt;
    Mac mac;
    for (std::size_t i = 0; i < 6; ++i) {
        const int high = hex_digit(text[i * 3]);
        const int low = hex_digit(text[i * 3 + 1]);
        if (high < 0 || low < 0) return std::nullopt;
        if (i < 5 && text[i * 3 + 2] != ':' && text[i * 3 + 2] != '-') return std::nullopt;
        mac.bytes[i] = static_cast<std::uint8_t>(high * 16 + low);
    }
    if ((mac.bytes[0] & 1U) != 0 || mac == Mac{}) return std::nullopt;
    return mac;
}

Mac Mac::from_ip(Ipv4 address) noexcept {
    const auto byte = [&](unsigned shift) { return static_cast<std::uint8_t>(address.value >> shift & 0xffU); };
    return {{0x02, 0x42, byte(24), byte(16), byte(8), byte(0)}};
}

std::string Mac::text() const {
    return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]);
}

}  // namespace grua::linux
