// Where a daemon listens: unix:///path or tcp://host:port, as DOCKER_HOST writes it.
#pragma once

#include "base/fd.hpp"

#include <string>
#include <string_view>

namespace grua::client {

struct Endpoint {
    enum class Kind { unix_socket, tcp };
    Kind kind = Kind::unix_socket;
    std::string address;  ///< A path, or a host name or address.
    std::string port;     ///< Only for tcp.

    /// As it was written, `unix:///run/grua/grua.sock`.
    std::string text() const;
};

/// Throws Error(invalid_argument) for what is no endpoint, Error(not_implemented) for ssh:// and TLS.
Endpoint parse_endpoint(std::string_view text);

/// A connected stream socket. Throws Error(unavailable) with errno where nobody listens.
Fd connect(const Endpoint& endpoint);

}  // namespace grua::client
