#include "engine/model/probe.hpp"

#include "base/text.hpp"
#include "registry/url.hpp"

namespace grua::engine {
namespace {

// The resolver of a container is asked by programs in it alone, so a name here could only be one of the host's.
std::vector<linux::Ip> addresses_of(std::string_view host, const std::string& target) {
    if (host == "localhost") return {*linux::Ip::parse("127.0.0.1"), *linux::Ip::parse("::1")};
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    const auto address = linux::Ip::parse(host);
    if (!address) fail(ErrorKind::invalid_argument, "Healthcheck.Test: {}: \"{}\" is neither an IP address nor localhost", target, host);
    return {*address};
}

std::uint16_t port_of(std::string_view text, const std::string& target) {
    const auto port = parse_uint(text);
    if (!port || *port == 0 || *port > 65535) fail(ErrorKind::invalid_argument, "Healthcheck.Test: {}: \"{}\" is no port", target, text);
    return static_cast<std::uint16_t>(*port);
}

Probe http_probe(const std::string& target) {
    const registry::Url url = registry::Url::parse(target);
    if (url.scheme != "http") fail(ErrorKind::not_implemented, "not implemented: Healthcheck.Test: {}: a probe by https", target);
    Probe out{.kind = Probe::Kind::http, .target = target, .authority = url.authority(), .path = url.path.empty() ? "/" : url.path};
    if (!url.query.empty()) out.path += "?" + url.query;
    out.addresses = addresses_of(url.host, target);
    out.port = url.port.empty() ? 80 : port_of(url.port, target);
    return out;
}

Probe tcp_probe(const std::string& target) {
    const std::size_t colon = target.rfind(':');
    if (colon == std::string::npos) fail(ErrorKind::invalid_argument, "Healthcheck.Test: \"{}\" is not HOST:PORT", target);
    Probe out{.kind = Probe::Kind::tcp, .target = target};
    const std::string_view host = std::string_view(target).substr(0, colon);
    out.addresses = addresses_of(host.empty() ? "localhost" : host, target);
    out.port = port_of(std::string_view(target).substr(colon + 1), target);
    return out;
}

Probe file_probe(const std::string& target) {
    if (!target.starts_with('/')) fail(ErrorKind::invalid_argument, "Healthcheck.Test: \"{}\" is not an absolute path", target);
    return {.kind = Probe::Kind::file, .target = target, .path = target};
}

}  // namespace

std::optional<Probe> parse_probe(const StringList& test) {
    if (test.empty()) return std::nullopt;
    const std::string& kind = test.front();
    if (kind != "HTTP" && kind != "TCP" && kind != "FILE") return std::nullopt;
    if (test.size() != 2) fail(ErrorKind::invalid_argument, "Healthcheck.Test: {} takes one word, and {} are given", kind, test.size() - 1);
    if (kind == "HTTP") return http_probe(test[1]);
    return kind == "TCP" ? tcp_probe(test[1]) : file_probe(test[1]);
}

}  // namespace grua::engine
