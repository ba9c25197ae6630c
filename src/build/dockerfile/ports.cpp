#include "build/dockerfile/ports.hpp"

#include "base/text.hpp"
#include "build/dockerfile/source.hpp"

#include <arpa/inet.h>
#include <optional>

namespace grua::build::dockerfile {
namespace {

struct Range {
    std::uint16_t first = 0;
    std::uint16_t last = 0;
};

std::optional<std::uint16_t> number(std::string_view text) {
    const auto out = parse_uint(text);
    if (!out || *out > 65535) return std::nullopt;
    return static_cast<std::uint16_t>(*out);
}

std::optional<Range> range_of(std::string_view text) {
    const std::size_t dash = text.find('-');
    const auto first = number(text.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : number(text.substr(dash + 1));
    if (!first || !last || *last < *first) return std::nullopt;
    return Range{*first, *last};
}

bool is_address(std::string_view text) {
    if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
    in6_addr out{};
    const std::string address{text};
    return inet_pton(AF_INET, address.c_str(), &out) == 1 || inet_pton(AF_INET6, address.c_str(), &out) == 1;
}

struct Parts {
    std::string_view address;
    std::string_view host;
    std::string_view container;
};

Parts take_apart(std::string_view text) {
    Parts out;
    std::size_t colon = text.rfind(':');
    out.container = text.substr(colon == std::string_view::npos ? 0 : colon + 1);
    if (colon == std::string_view::npos) return out;
    text = text.substr(0, colon);
    colon = text.rfind(':');
    out.host = text.substr(colon == std::string_view::npos ? 0 : colon + 1);
    if (colon != std::string_view::npos) out.address = text.substr(0, colon);
    return out;
}

template <typename... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) {
    fail(ErrorKind::invalid_argument, format, std::forward<Args>(args)...);
}

}  // namespace

ExposedPort parse_port(std::string_view text) {
    const Parts parts = take_apart(text);
    const std::size_t slash = parts.container.find('/');
    const std::string_view port = parts.container.substr(0, slash);
    if (port.empty()) refuse("invalid port: {}: no port specified", in_quotes(text));
    std::string_view protocol = slash == std::string_view::npos ? std::string_view{} : parts.container.substr(slash + 1);
    if (protocol.empty()) protocol = "tcp";
    ExposedPort out;
    out.range.protocol = to_lower(protocol);
    if (out.range.protocol != "tcp" && out.range.protocol != "udp" && out.range.protocol != "sctp") {
        refuse("invalid port: {}: invalid proto: {}", in_quotes(text), shortened(protocol));
    }
    out.odd_casing = out.range.protocol != protocol;
    out.is_mapping = !parts.address.empty() || !parts.host.empty();
    if (!parts.address.empty() && !is_address(parts.address)) refuse("invalid IP address: {}", shortened(parts.address));
    const auto range = range_of(port);
    if (!range) refuse("invalid containerPort: {}", shortened(port));
    out.range.first = range->first;
    out.range.last = range->last;
    if (parts.host.empty()) return out;
    const auto host = range_of(parts.host);
    if (!host) refuse("invalid hostPort: {}", shortened(parts.host));
    if (host->last - host->first != range->last - range->first && range->first != range->last) {
        refuse("invalid ranges specified for container and host Ports: {} and {}", shortened(port), shortened(parts.host));
    }
    return out;
}

}  // namespace grua::build::dockerfile
