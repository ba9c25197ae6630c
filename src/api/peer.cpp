#include "api/peer.hpp"

#include "base/error.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <array>
#include <cstring>

namespace grua::api {

namespace {

/// "192.0.2.7:40112", "[fd00:99::7]:40112"; empty where it has none.
std::string address_of(int socket) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (::getpeername(socket, reinterpret_cast<sockaddr*>(&address), &size) < 0) return {};
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (address.ss_family == AF_INET) {
        sockaddr_in ipv4{};
        std::memcpy(&ipv4, &address, sizeof ipv4);
        if (!::inet_ntop(AF_INET, &ipv4.sin_addr, text.data(), text.size())) return {};
        return fmt::format("{}:{}", text.data(), ntohs(ipv4.sin_port));
    }
    sockaddr_in6 ipv6{};
    std::memcpy(&ipv6, &address, sizeof ipv6);
    if (address.ss_family != AF_INET6 || !::inet_ntop(AF_INET6, &ipv6.sin6_addr, text.data(), text.size())) return {};
    return fmt::format("[{}]:{}", text.data(), ntohs(ipv6.sin6_port));
}

}  // namespace

engine::Principal principal_of(int socket, std::string listener) {
    engine::Principal who{.listener = std::move(listener), .peer = {}, .address = {}, .certificate = {}};
    int family = AF_UNSPEC;
    socklen_t size = sizeof family;
    ::getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &family, &size);
    if (family != AF_UNIX) {
        who.address = address_of(socket);
    } else {
        ucred credentials{};
        size = sizeof credentials;
        if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0)
            who.peer = engine::Peer{.pid = credentials.pid, .uid = credentials.uid, .gid = credentials.gid};
    }
    return who;
}

void keep_alive(int socket) {
    const int on = 1;
    const int idle = 30;
    const int interval = 10;
    const int tries = 3;
    ::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof tries);
}

}  // namespace grua::api
