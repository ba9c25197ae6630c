// The address of a Unix socket.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>
#include <cstring>
#include <optional>
#include <string_view>

namespace grua {

/// Nothing where the path is longer than such an address can be (107 bytes).
inline std::optional<sockaddr_un> unix_address(std::string_view path) {
    sockaddr_un out{};
    out.sun_family = AF_UNIX;
    if (path.size() >= sizeof out.sun_path) return std::nullopt;
    std::memcpy(out.sun_path, path.data(), path.size());
    return out;
}

/// As the kernel's calls take it.
inline const sockaddr* plain(const sockaddr_un& address) { return reinterpret_cast<const sockaddr*>(&address); }

}  // namespace grua
