#include "linux/ip_address.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/random.h>

namespace grua::linux {

namespace {

constexpr std::size_t longest_text = 64;  // Longer is no address; inet_pton wants a C string.

int hex_digit(char c) noexcept {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

}  // namespace

std::optional<Ip> Ip::parse(std::string_view text) {
    if (text.empty() || text.size() > longest_text || text.contains('\0')) return std::nullopt;
    const std::string terminated(text);
    std::array<std::byte, 16> bytes{};
    if (::inet_pton(AF_INET, terminated.c_str(), bytes.data()) == 1) return from_bytes(std::span(bytes).first(4));
    if (::inet_pton(AF_INET6, terminated.c_str(), bytes.data()) == 1) return from_bytes(bytes);
    return std::nullopt;
}

Ip Ip::from_bytes(std::span<const std::byte> bytes) {
    if (bytes.size() != 4 && bytes.size() != 16) fail(ErrorKind::system, "an address of {} bytes", bytes.size());
    Ip out{.family = bytes.size() == 4 ? Family::v4 : Family::v6};
    for (const std::byte each : bytes) out.value = (out.value << 8U) | std::to_integer<unsigned>(each);
    return out;
}

std::vector<std::byte> Ip::bytes() const {
    std::vector<std::byte> out(bits() / 8);
    for (std::size_t i = 0; i < out.size(); ++i) out[out.size() - 1 - i] = static_cast<std::byte>(value >> (8 * i));
    return out;
}

std::string Ip::text() const {
    std::array<char, INET6_ADDRSTRLEN> out{};
    ::inet_ntop(is_v4() ? AF_INET : AF_INET6, bytes().data(), out.data(), out.size());
    return out.data();
}

std::optional<IpPrefix> IpPrefix::parse(std::string_view text) {
    const auto slash = text.find('/');
    if (slash == std::string_view::npos) return std::nullopt;
    const auto address = Ip::parse(text.substr(0, slash));
    const auto length = parse_uint(text.substr(slash + 1));
    if (!address || !length || *length > address->bits()) return std::nullopt;
    return IpPrefix{*address, static_cast<unsigned>(*length)};
}

std::string IpPrefix::text() const { return fmt::format("{}/{}", address.text(), length); }

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

Mac Mac::random() {
    Mac mac{{0x02, 0x42}};
    if (::getrandom(mac.bytes.data() + 2, 4, 0) != 4) fail_errno("getrandom");
    return mac;
}

std::string Mac::text() const {
    return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]);
}

Mac mac_of(Ip address) noexcept {
    const auto byte = [&](unsigned shift) { return static_cast<std::uint8_t>(address.value >> shift); };
    return {{0x02, 0x42, byte(24), byte(16), byte(8), byte(0)}};
}

Ip link_local_of(const Mac& mac) noexcept {
    Ip out{.family = Ip::Family::v6, .value = 0xfe80};
    out.value <<= 112U;
    const auto& b = mac.bytes;
    std::uint64_t host = 0;
    for (const std::uint8_t each : {std::uint8_t(b[0] ^ 2U), b[1], b[2], std::uint8_t{0xff}, std::uint8_t{0xfe}, b[3], b[4], b[5]})
        host = host << 8U | each;
    out.value |= host;
    return out;
}

}  // namespace grua::linux
