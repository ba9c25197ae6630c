// Where a daemon listens: unix:///path, tcp://host:port or ssh://user@host, as DOCKER_HOST writes it, and the way there.
#pragma once

#include "base/fd.hpp"
#include "tls/context.hpp"

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace grua::client {

/// TLS: who we are, and who the daemon has to be.
struct Security {
    tls::Files files;
    tls::Verify daemon = tls::Verify::yes;
};

struct Endpoint {
    enum class Kind { unix_socket, tcp, ssh };
    Kind kind = Kind::unix_socket;
    std::string address;               ///< A path, or a host name or address.
    std::string port;                  ///< Of tcp; of ssh where it is said.
    std::string user;                  ///< Of ssh, where it is said.
    std::string path;                  ///< Of ssh: the daemon's socket there; empty: its default.
    std::optional<Security> security;  ///< Of tcp.

    /// As it was written, `unix:///run/grua/grua.sock`.
    std::string text() const;
};

/// Throws Error(invalid_argument) for what is no endpoint.
Endpoint parse_endpoint(std::string_view text);

/// A connected, blocking stream socket: the daemon's, or the near end of a relay to it (TLS, ssh).
struct Link {
    Fd socket;
    /// After the end of the stream: why, where that is known.
    std::function<std::string()> why_ended = [] { return std::string(); };
};

/// Throws Error(unavailable) with errno where nobody listens, and without where TLS or ssh say why not.
Link connect(const Endpoint& endpoint);

namespace detail {
Link connect_tls(Fd tcp, const Endpoint& endpoint);
Link connect_ssh(const Endpoint& endpoint);
/// "ssh://user@host:22/run/x.sock" without its scheme.
Endpoint parse_ssh(std::string_view text);
}  // namespace detail

}  // namespace grua::client
