// Addresses to listen on as -H takes them, and their sockets.
#pragma once

#include "base/fd.hpp"

#include <sys/types.h>
#include <cstdint>
#include <string>
#include <string_view>

namespace grua::api {

/// Of the unix socket, where it exists.
inline constexpr std::string_view default_group = "docker";

/// What a client by TCP must be to be let in.
enum class Protection {
    none,         ///< Nothing.
    server_only,  ///< It speaks TLS.
    mutual,       ///< And shows a certificate.
};

struct Address {
    enum class Family { unix_socket, tcp, inherited };
    Family family = Family::unix_socket;
    std::string path;        ///< unix
    std::string host;        ///< tcp: a numeric address or localhost
    std::uint16_t port = 0;  ///< tcp
    int descriptor = 0;      ///< inherited: from systemd; 0: all that there are.

    std::string text() const;
};

/// "unix:///run/x.sock", "/run/x.sock", "tcp://127.0.0.1:2375", "fd://", "fd://3". Throws Error(invalid_argument), and not_implemented for
/// tcp addresses other than loopback that are not mutually protected: whoever reaches them is root on this machine.
Address parse_address(std::string_view text, Protection tcp = Protection::none);

/// A socket's file. It goes with its owner, where it is still the same.
class SocketFile {
public:
    SocketFile() = default;
    /// Of a socket that was just bound to it.
    explicit SocketFile(std::string path);
    SocketFile(SocketFile&& other) noexcept;
    SocketFile& operator=(SocketFile&& other) noexcept;
    ~SocketFile() { remove(); }

    void remove() noexcept;

private:
    std::string path_;
    dev_t device_ = 0;
    ino_t inode_ = 0;
};

struct Listening {
    Fd socket;         ///< Nonblocking.
    std::string name;  ///< Its address, as principals show it.
    bool tcp = false;
    SocketFile file;
};

/// A unix socket gets mode 0660 and `group` (empty: root's); one that nobody listens on is replaced, one that somebody does is
/// a conflict. Not of inherited ones.
Listening listen_on(const Address& address, const std::string& group);

/// A socket that systemd has bound and listens on. Throws Error(invalid_argument) where it is none, or one that parse_address() would
/// refuse.
Listening adopt(Fd socket, Protection tcp);

}  // namespace grua::api
