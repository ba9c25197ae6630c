// Texts with descriptors over SOCK_SEQPACKET. A text that is too long for a packet travels in a sealed memfd; the receiver does
// not see the difference.
//
// A packet: one byte, 't' (the text follows) or 'm' (the last descriptor is a memfd with the text).
#pragma once

#include "base/fd.hpp"

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace grua::monitor {

inline constexpr std::size_t most_fds = 16;

struct Packet {
    std::string text;
    std::vector<Fd> fds;
};

/// Two connected ends, both close-on-exec and blocking.
std::pair<Fd, Fd> socket_pair();

enum class Sent { yes, would_block, peer_gone };

/// The descriptors are duplicated into the packet, the caller keeps its own. `would_block` only where `nonblocking` or the socket is.
Sent send(int socket, std::string_view text, std::span<const int> fds = {}, bool nonblocking = false);

enum class Received { packet, would_block, closed };

/// Received descriptors are close-on-exec. Throws Error(invalid_argument) for a malformed packet, Error(unavailable) where this process has
/// no descriptors left for those that came with it (they are closed). `out.text` then has what could be read of the text.
Received receive(int socket, Packet& out, bool nonblocking = false);

/// Connects to a monitor that outlived its gruad; nothing where nobody listens. Any length of path.
std::optional<Fd> connect_to_monitor(const std::string& directory);

/// Listens on <directory>/monitor.sock, in place of what is there.
Fd listen_in(const std::string& directory);

/// True where the peer is root or runs as this user.
bool peer_is_trusted(int socket);

}  // namespace grua::monitor
