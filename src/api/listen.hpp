// Addresses to listen on as -H takes them, and their sockets.
#pragma once

#include "base/fd.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace grua::api {

struct Address {
    enum class Family { unix_socket, tcp };
    Family family = Family::unix_socket;
    std::string path;  ///< unix
    std::string host;  ///< tcp: a numeric address or localhost
    std::uint16_t port = 0;

    std::string text() const;
};

/// "unix:///run/x.sock", "/run/x.sock", "tcp://127.0.0.1:2375". Throws Error(invalid_argument), not_implemented for fd:// and for tcp
/// addresses other than loopback: without TLS whoever reaches the socket is root on this machine.
Address parse_address(std::string_view text);

/// A listening, nonblocking socket. A unix socket gets mode 0660 and `group` where that exists (empty: root's); one that nobody
/// listens on is replaced, one that somebody does is a conflict.
Fd listen_on(const Address& address, const std::string& group);

}  // namespace grua::api
