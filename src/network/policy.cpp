#include "network/policy.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "network/ports.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace grua::network {

namespace {

constexpr double highest_rate = 1e14;
constexpr std::uint64_t smallest_rate = 8000;  // Bits per second: less, and a packet takes more than a second.
constexpr std::size_t most_ports = 1024;       // Of one peer: each is an element of a set in the kernel.

struct Number {
    double value = 0;
    std::string unit;  // In lower case.
};

std::optional<Number> parse_number(std::string_view text) noexcept {
    Number out;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out.value, std::chars_format::fixed);
    if (error != std::errc() || !std::isfinite(out.value) || out.value < 0) return std::nullopt;
    out.unit = to_lower(text.substr(static_cast<std::size_t>(end - text.data())));
    return out;
}

struct Factor {
    std::string_view prefix;
    double factor;
};
constexpr std::array factors{Factor{"", 1},     Factor{"k", 1e3},     Factor{"m", 1e6},        Factor{"g", 1e9},
                             Factor{"t", 1e12}, Factor{"ki", 1024.0}, Factor{"mi", 1048576.0}, Factor{"gi", 1073741824.0}};

std::optional<double> factor_of(std::string_view prefix) noexcept {
    const auto found = std::ranges::find(factors, prefix, &Factor::prefix);
    return found == factors.end() ? std::nullopt : std::optional(found->factor);
}

std::uint64_t limit_of(std::string_view text, std::string_view what) {
    if (text.empty()) return 0;
    const auto bits = parse_rate(text);
    if (!bits) fail(ErrorKind::invalid_argument, "{} {}: no rate; bits per second, as 10mbit or 500kbit", what, text);
    if (*bits != 0 && *bits < smallest_rate) fail(ErrorKind::invalid_argument, "{} {}: the least is 8kbit", what, text);
    return *bits;
}

std::vector<std::pair<std::uint8_t, std::uint16_t>> ports_of(const std::string& text, const std::string& whole) {
    const auto slash = text.find('/');
    const auto protocol = parse_protocol(slash == std::string::npos ? "tcp" : text.substr(slash + 1));
    const auto [first, last] = parse_port_range(text.substr(0, slash));
    if (!protocol || first == 0)
        fail(ErrorKind::invalid_argument, "network policy \"{}\": {} is no port: 80, 8000-8010, 53/udp", whole, text);
    std::vector<std::pair<std::uint8_t, std::uint16_t>> out;
    for (unsigned port = first; port <= last; ++port) out.emplace_back(*protocol, static_cast<std::uint16_t>(port));
    return out;
}

AllowedPeer parse_peer(const std::string& text) {
    std::optional<AllowedPeer> out;
    std::vector<std::pair<std::uint8_t, std::uint16_t>> ports;
    for (const std::string& field : split(text, ',')) {
        const auto equals = field.find('=');
        const std::string key = field.substr(0, equals);
        const std::string value = equals == std::string::npos ? "" : field.substr(equals + 1);
        if (value.empty()) fail(ErrorKind::invalid_argument, "network policy \"{}\": {} has no value", text, field);
        if (key == "port") {
            for (const auto& each : ports_of(value, text)) ports.push_back(each);
            if (ports.size() > most_ports) fail(ErrorKind::invalid_argument, "network policy \"{}\": more than {} ports", text, most_ports);
            continue;
        }
        if (out) fail(ErrorKind::invalid_argument, "network policy \"{}\": more than one of network, container and label", text);
        out.emplace();
        if (key == "network") {
            out->kind = AllowedPeer::Kind::network;
        } else if (key == "container") {
            out->kind = AllowedPeer::Kind::container;
        } else if (key == "label") {
            out->kind = AllowedPeer::Kind::label;
        } else {
            fail(ErrorKind::invalid_argument, "network policy \"{}\": {}: not one of network, container, label, port", text, key);
        }
        out->name = value;
        if (const auto at = value.find('='); out->kind == AllowedPeer::Kind::label && at != std::string::npos) {
            out->name = value.substr(0, at);
            out->value = value.substr(at + 1);
        }
    }
    if (!out) fail(ErrorKind::invalid_argument, "network policy \"{}\": it names no network, container or label", text);
    out->ports = std::move(ports);
    return *out;
}

}  // namespace

std::optional<std::uint64_t> parse_rate(std::string_view text) noexcept {
    if (text == "none") return 0;
    const auto number = parse_number(text);
    if (!number) return std::nullopt;
    std::string_view unit = number->unit;
    double factor = 1;
    if (unit.ends_with("bit")) {
        unit.remove_suffix(3);
    } else if (unit.ends_with("bps")) {
        unit.remove_suffix(3);
        factor = 8;
    }
    const auto prefix = factor_of(unit);
    if (!prefix) return std::nullopt;
    const double bits = number->value * factor * *prefix;
    if (bits > highest_rate) return std::nullopt;
    return static_cast<std::uint64_t>(bits);
}

RateLimits parse_limits(std::string_view in, std::string_view out, std::string_view burst) {
    RateLimits limits;
    limits.in.bits = limit_of(in, "net-rate-in");
    limits.out.bits = limit_of(out, "net-rate-out");
    if (burst.empty() || burst == "0") return limits;
    const auto number = parse_number(burst);
    std::string_view unit = number ? std::string_view(number->unit) : std::string_view();
    if (unit.ends_with('b')) unit.remove_suffix(1);
    // Bytes count by 1,024, as those of memory do.
    const auto factor = unit == "k" ? 1024.0 : unit == "m" ? 1048576.0 : unit.empty() ? 1.0 : 0.0;
    constexpr double least = 2048;
    constexpr double most = 1 << 30;
    const double bytes = number ? number->value * factor : 0;
    if (bytes < least || bytes > most) fail(ErrorKind::invalid_argument, "net-burst {}: bytes, as 64k; from 2k to 1024m", burst);
    limits.in.burst = limits.out.burst = static_cast<std::uint64_t>(bytes);
    return limits;
}

Policy parse_policy(const std::vector<std::string>& texts) {
    Policy out;
    for (const std::string& each : texts) {
        if (each == "none") {
            if (texts.size() > 1) fail(ErrorKind::invalid_argument, "network policy \"none\" stands alone");
            return {};
        }
        out.push_back(parse_peer(each));
    }
    return out;
}

}  // namespace grua::network
