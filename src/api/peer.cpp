#include "api/peer.hpp"

#include "base/error.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
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

engine::PrincipalPtr principal_of(int socket, int family, std::string listener) {
    engine::Principal who{.listener = std::move(listener), .peer = {}, .address = {}, .certificate = {}};
    if (family != AF_UNIX) {
        who.address = address_of(socket);
    } else {
        ucred credentials{};
        socklen_t size = sizeof credentials;
        if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0)
            who.peer = engine::Peer{.pid = credentials.pid, .uid = credentials.uid, .gid = credentials.gid};
    }
    return std::make_shared<const engine::Principal>(std::move(who));
}

}  // namespace grua::api
