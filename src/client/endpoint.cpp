#include "client/endpoint.hpp"

#include "base/error.hpp"
#include "base/unix_address.hpp"

#include <netdb.h>
#include <sys/socket.h>
#include <cstring>
#include <memory>

namespace grua::client {

std::string Endpoint::text() const {
    if (kind == Kind::unix_socket) return "unix://" + address;
    if (kind == Kind::ssh) {
        return fmt::format("ssh://{}{}{}{}{}{}", user, user.empty() ? "" : "@", address, port.empty() ? "" : ":", port, path);
    }
    const bool v6 = address.find(':') != std::string::npos;
    return fmt::format("tcp://{}{}{}:{}", v6 ? "[" : "", address, v6 ? "]" : "", port);
}

Endpoint parse_endpoint(std::string_view text) {
    const auto after = [&](std::string_view scheme) -> std::string_view { return text.substr(scheme.size()); };
    if (text.starts_with("unix://")) {
        const std::string_view path = after("unix://");
        if (path.empty()) fail(ErrorKind::invalid_argument, "Invalid bind address format: {}", text);
        return {.kind = Endpoint::Kind::unix_socket, .address = std::string(path)};
    }
    if (text.starts_with('/')) return {.kind = Endpoint::Kind::unix_socket, .address = std::string(text)};
    if (text.starts_with("ssh://")) return while_doing(text, [&] { return detail::parse_ssh(after("ssh://")); });
    if (text.starts_with("https://"))
        fail(ErrorKind::invalid_argument, "Invalid bind address protocol: {}: TLS is asked for with tcp:// and --tlsverify", text);

    std::string_view rest = text;
    if (rest.starts_with("tcp://"))
        rest = after("tcp://");
    else if (rest.starts_with("http://"))
        rest = after("http://");
    else if (rest.find("://") != std::string_view::npos)
        fail(ErrorKind::invalid_argument, "Invalid bind address protocol: {}", text);
    rest = rest.substr(0, rest.find('/'));

    std::string_view host = rest;
    std::string_view port = "2375";
    if (rest.starts_with('[')) {
        const std::size_t end = rest.find(']');
        if (end == std::string_view::npos) fail(ErrorKind::invalid_argument, "Invalid bind address format: {}", text);
        host = rest.substr(1, end - 1);
        if (end + 1 < rest.size() && rest[end + 1] == ':') port = rest.substr(end + 2);
    } else if (const std::size_t colon = rest.rfind(':'); colon != std::string_view::npos) {
        host = rest.substr(0, colon);
        port = rest.substr(colon + 1);
    }
    if (host.empty()) host = "127.0.0.1";
    if (port.empty()) fail(ErrorKind::invalid_argument, "Invalid bind address format: {}", text);
    return {.kind = Endpoint::Kind::tcp, .address = std::string(host), .port = std::string(port)};
}

namespace {

Fd connect_unix(const Endpoint& endpoint) {
    const auto address = unix_address(endpoint.address);
    if (!address) fail(ErrorKind::invalid_argument, "{}: longer than a socket's path can be", endpoint.text());
    Fd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (!socket) fail_errno("socket");
    while (::connect(socket.get(), plain(*address), sizeof *address) != 0) {
        if (errno == EINTR) continue;
        const int error = errno;
        throw Error(ErrorKind::unavailable, fmt::format("connect {}: {}", endpoint.text(), std::strerror(error)), error);
    }
    return socket;
}

Fd connect_tcp(const Endpoint& endpoint) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int failed = ::getaddrinfo(endpoint.address.c_str(), endpoint.port.c_str(), &hints, &found);
    if (failed != 0) fail(ErrorKind::unavailable, "{}: {}", endpoint.text(), ::gai_strerror(failed));
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner{found, ::freeaddrinfo};
    int error = ECONNREFUSED;
    for (const addrinfo* each = found; each; each = each->ai_next) {
        Fd socket{::socket(each->ai_family, each->ai_socktype | SOCK_CLOEXEC, each->ai_protocol)};
        if (socket && ::connect(socket.get(), each->ai_addr, each->ai_addrlen) == 0) return socket;
        error = errno;
    }
    throw Error(ErrorKind::unavailable, fmt::format("connect {}: {}", endpoint.text(), std::strerror(error)), error);
}

}  // namespace

Link connect(const Endpoint& endpoint) {
    if (endpoint.kind == Endpoint::Kind::ssh) return detail::connect_ssh(endpoint);
    if (endpoint.kind == Endpoint::Kind::unix_socket) return {.socket = connect_unix(endpoint)};
    Fd tcp = connect_tcp(endpoint);
    if (endpoint.security) return detail::connect_tls(std::move(tcp), endpoint);
    return {.socket = std::move(tcp)};
}

}  // namespace grua::client
