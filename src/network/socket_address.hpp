// An address and a port as the kernel's sockets take them.
#pragma once

#include "linux/ip_address.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace grua::network {

struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t size = 0;
    const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
};

inline SocketAddress socket_address(const linux::Ip& address, std::uint16_t port) {
    SocketAddress out;
    if (address.is_v4()) {
        auto& four = reinterpret_cast<sockaddr_in&>(out.storage);
        four.sin_family = AF_INET;
        four.sin_port = htons(port);
        std::ranges::copy(address.bytes(), reinterpret_cast<std::byte*>(&four.sin_addr));
        out.size = sizeof four;
    } else {
        auto& six = reinterpret_cast<sockaddr_in6&>(out.storage);
        six.sin6_family = AF_INET6;
        six.sin6_port = htons(port);
        std::ranges::copy(address.bytes(), reinterpret_cast<std::byte*>(&six.sin6_addr));
        out.size = sizeof six;
    }
    return out;
}

}  // namespace grua::network
