#include "network/upstreams.hpp"

#include "base/text.hpp"
#include "network/container_files.hpp"

#include <net/if.h>
#include <sys/stat.h>
#include <algorithm>
#include <limits>
#include <optional>

namespace grua::network {

using linux::Ip;

namespace {

constexpr std::uint16_t dns_port = 53;
constexpr auto resolv_conf_age = std::chrono::milliseconds(500);

/// 0 for none.
std::uint16_t parse_port(std::string_view text) {
    const std::uint64_t port = parse_uint(text).value_or(0);
    return port <= std::numeric_limits<std::uint16_t>::max() ? static_cast<std::uint16_t>(port) : std::uint16_t{0};
}

std::optional<SocketAddress> parse_server(std::string_view text) {
    std::string host(text);
    std::uint16_t port = dns_port;
    if (text.starts_with('[')) {
        const auto end = text.find(']');
        if (end == std::string_view::npos) return std::nullopt;
        host = text.substr(1, end - 1);
        if (end + 1 < text.size() && text[end + 1] == ':') port = parse_port(text.substr(end + 2));
    } else if (std::ranges::count(text, ':') == 1) {
        host = text.substr(0, text.find(':'));
        port = parse_port(text.substr(text.find(':') + 1));
    }
    std::string zone;
    if (const auto percent = host.find('%'); percent != std::string::npos) {
        zone = host.substr(percent + 1);
        host.resize(percent);
    }
    const auto ip = Ip::parse(host);
    if (!ip || port == 0) return std::nullopt;
    SocketAddress out = socket_address(*ip, port);
    if (!zone.empty() && ip->is_v6()) reinterpret_cast<sockaddr_in6&>(out.storage).sin6_scope_id = ::if_nametoindex(zone.c_str());
    return out;
}

}  // namespace

std::vector<SocketAddress> parse_servers(const std::vector<std::string>& texts) {
    std::vector<SocketAddress> out;
    for (const std::string& each : texts)
        if (const auto server = parse_server(each)) out.push_back(*server);
    return out;
}

const std::vector<SocketAddress>& HostServers::get(Clock::time_point now) {
    if (looked_ != Clock::time_point{} && now < looked_ + resolv_conf_age) return servers_;
    std::vector<std::pair<timespec, std::uint64_t>> seen;
    for (const std::string& path : options_.watched) {
        struct stat status{};
        if (::stat(path.c_str(), &status) != 0) status = {};
        seen.emplace_back(status.st_mtim, status.st_ino);
    }
    const auto same = [](const auto& a, const auto& b) {
        return a.first.tv_sec == b.first.tv_sec && a.first.tv_nsec == b.first.tv_nsec && a.second == b.second;
    };
    const bool changed = looked_ == Clock::time_point{} || !std::ranges::equal(seen, seen_, same);
    looked_ = now;
    if (!changed) return servers_;
    seen_ = std::move(seen);
    servers_ = parse_servers(nameservers(options_.host_resolv_conf()));
    return servers_;
}

}  // namespace grua::network
