#include "network/ports.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "network/socket_address.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <algorithm>
#include <cerrno>

namespace grua::network {

using linux::Ip;

namespace {

constexpr std::pair<std::uint16_t, std::uint16_t> usual_range{32768, 60999};

std::pair<std::uint16_t, std::uint16_t> ephemeral_range() {
    try {
        const std::string text = read_file("/proc/sys/net/ipv4/ip_local_port_range");
        const auto tab = text.find('\t');
        const auto first = parse_uint(text.substr(0, tab));
        const auto last = tab == std::string::npos ? std::nullopt : parse_uint(trim(std::string_view(text).substr(tab + 1)));
        if (first && last && *first > 0 && *last <= 65535 && *first < *last)
            return {static_cast<std::uint16_t>(*first), static_cast<std::uint16_t>(*last)};
    } catch (const Error& error) {
        log::warn("ports: {}", error.what());
    }
    return usual_range;
}

std::string shown(const Ip& ip, std::uint16_t port) { return fmt::format(fmt::runtime(ip.is_v4() ? "{}:{}" : "[{}]:{}"), ip.text(), port); }

bool let_nothing_in(int socket) {
    sock_filter drop{.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = 0};
    const sock_fprog program{.len = 1, .filter = &drop};
    return ::setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0;
}

/// A socket that holds the port and lets nothing in. Empty where this kernel does not speak the protocol.
Fd hold(std::uint8_t protocol, const Ip& ip, std::uint16_t port) {
    const auto refuse = [&] { fail_errno("failed to bind host port {}/{}", shown(ip, port), protocol_name(protocol)); };
    const int type = protocol == IPPROTO_UDP ? SOCK_DGRAM : SOCK_STREAM;
    Fd socket{::socket(ip.is_v4() ? AF_INET : AF_INET6, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol)};
    if (!socket && (errno == EPROTONOSUPPORT || errno == EAFNOSUPPORT || errno == ESOCKTNOSUPPORT)) return {};
    if (!socket) refuse();
    if (!let_nothing_in(socket.get())) refuse();
    const int on = 1;
    // Connections of a server before, which wait out their time, are no obstacle.
    if (protocol != IPPROTO_UDP && ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) refuse();
    if (ip.is_v6() && ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) != 0) refuse();
    const SocketAddress address = socket_address(ip, port);
    if (::bind(socket.get(), address.get(), address.size) != 0) refuse();
    // A bound TCP socket is no obstacle for others that reuse addresses; a listening one is.
    if (protocol != IPPROTO_UDP && ::listen(socket.get(), 1) != 0) refuse();
    return socket;
}

}  // namespace

std::string_view protocol_name(std::uint8_t protocol) {
    return protocol == IPPROTO_UDP ? "udp" : protocol == IPPROTO_SCTP ? "sctp" : "tcp";
}

std::optional<std::uint8_t> parse_protocol(std::string_view text) {
    const std::string lower = to_lower(text);
    if (lower.empty() || lower == "tcp") return IPPROTO_TCP;
    if (lower == "udp") return IPPROTO_UDP;
    if (lower == "sctp") return IPPROTO_SCTP;
    return std::nullopt;
}

std::pair<std::uint16_t, std::uint16_t> parse_port_range(std::string_view text) {
    if (text.empty()) return {0, 0};
    const auto dash = text.find('-');
    const auto first = parse_uint(text.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : parse_uint(text.substr(dash + 1));
    if (!first || !last || *first > *last || *last > 65535 || (*first == 0 && *last != 0))
        fail(ErrorKind::invalid_argument, "invalid port range: value \"{}\" must be between 0 and 65535, the first not above the last",
             text);
    return {static_cast<std::uint16_t>(*first), static_cast<std::uint16_t>(*last)};
}

/// The address that stands in the way.
std::optional<Ip> HostPorts::taken(std::uint8_t protocol, const std::vector<Ip>& addresses, std::uint16_t port) const {
    const auto found = by_port_.find({protocol, port});
    if (found == by_port_.end()) return std::nullopt;
    for (const Ip& wanted : addresses) {
        for (const Ip& held : found->second) {
            const bool meet = held == wanted || held.is_unspecified() || wanted.is_unspecified();
            if (held.family == wanted.family && meet) return held;
        }
    }
    return std::nullopt;
}

std::vector<PublishedPort> HostPorts::reserve(const PortRequest& request, const std::vector<Ip>& addresses) {
    const MutexLock lock(mutex_);
    const bool any = request.first == 0;
    const auto [first, last] = any ? ephemeral_range() : std::pair{request.first, request.last};
    const unsigned count = 1U + last - first;
    if (any && (next_ < first || next_ > last)) next_ = first;
    const unsigned start = any ? next_ - first : 0U;
    for (unsigned i = 0; i < count; ++i) {
        const auto port = static_cast<std::uint16_t>(first + (start + i) % count);
        const bool only = first == last;
        if (const auto held = taken(request.protocol, addresses, port)) {
            if (only) fail(ErrorKind::conflict, "Bind for {}:{} failed: port is already allocated", held->text(), port);
            continue;
        }
        std::vector<std::pair<Ip, Fd>> sockets;
        try {
            for (const Ip& each : addresses) sockets.emplace_back(each, hold(request.protocol, each, port));
        } catch (const Error& error) {
            if (only || error.os_error() != EADDRINUSE) throw;
            continue;
        }
        std::vector<PublishedPort> out;
        for (auto& [ip, socket] : sockets) {
            held_.insert_or_assign(Key{request.protocol, ip, port}, std::move(socket));
            by_port_[{request.protocol, port}].push_back(ip);
            out.push_back({.protocol = request.protocol, .port = request.port, .host_ip = ip, .host_port = port});
        }
        if (any) next_ = static_cast<std::uint16_t>(port + 1U);
        return out;
    }
    fail(ErrorKind::conflict, "Bind for {}:{}-{} failed: all ports are allocated", addresses.front().text(), first, last);
}

void HostPorts::restore(const PublishedPort& port) {
    if (port.host_port == 0) return;
    const MutexLock lock(mutex_);
    Fd socket;
    try {
        socket = hold(port.protocol, port.host_ip, port.host_port);
    } catch (const Error& error) {
        log::warn("a published port of a container that runs: {}", error.what());
    }
    held_.insert_or_assign(Key{port.protocol, port.host_ip, port.host_port}, std::move(socket));
    by_port_[{port.protocol, port.host_port}].push_back(port.host_ip);
}

void HostPorts::end_forward(const Key& key) {
    const auto found = forwarded_.find(key);
    if (found == forwarded_.end()) return;
    proxy_.remove(found->second);
    forwarded_.erase(found);
}

void HostPorts::forward(const PublishedPort& port, const std::optional<Proxy::Target>& target) {
    constexpr int backlog = 1024;
    const Key key{port.protocol, port.host_ip, port.host_port};
    const MutexLock lock(mutex_);
    end_forward(key);
    const auto held = held_.find(key);
    if (held == held_.end() || !held->second) return;
    try {
        if (!target) {
            if (!let_nothing_in(held->second.get())) fail_errno("attach a filter");
            return;
        }
        Fd listener{::fcntl(held->second.get(), F_DUPFD_CLOEXEC, 0)};
        if (!listener || (key.protocol != IPPROTO_UDP && ::listen(listener.get(), backlog) != 0)) fail_errno("listen");
        forwarded_[key] = proxy_.add(std::move(listener), *target);
        const int unused = 0;
        if (::setsockopt(held->second.get(), SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof unused) != 0 && errno != ENOENT)
            fail_errno("detach the filter");
    } catch (const Error& error) {
        log::warn("published port {}: {}", shown(port.host_ip, port.host_port), error.what());
    }
}

void HostPorts::release(const PublishedPort& port) {
    if (port.host_port == 0) return;
    const MutexLock lock(mutex_);
    const Key key{port.protocol, port.host_ip, port.host_port};
    end_forward(key);
    held_.erase(key);
    const auto found = by_port_.find({port.protocol, port.host_port});
    if (found == by_port_.end()) return;
    std::erase(found->second, port.host_ip);
    if (found->second.empty()) by_port_.erase(found);
}

}  // namespace grua::network
