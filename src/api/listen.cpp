#include "api/listen.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "base/text.hpp"

#include <arpa/inet.h>
#include <grp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <cstring>
#include <filesystem>

namespace grua::api {

namespace {

/// As many as the kernel lets wait (net.core.somaxconn): a client beyond them is refused by it.
constexpr int backlog = 65535;

sockaddr_un unix_address(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) {
        fail(ErrorKind::invalid_argument, "unix://{}: the path is longer than {} bytes", path, sizeof address.sun_path - 1);
    }
    std::memcpy(address.sun_path, path.data(), path.size());
    return address;
}

Fd open_socket(int family) {
    Fd socket{::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (!socket) fail_errno("socket");
    return socket;
}

/// Takes away a socket that nobody listens on.
void remove_stale(const std::string& path, const sockaddr_un& address) {
    struct stat status{};
    if (::lstat(path.c_str(), &status) < 0) return;
    if (!S_ISSOCK(status.st_mode)) fail(ErrorKind::conflict, "{} is there and is not a socket", path);
    const Fd probe = open_socket(AF_UNIX);
    if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 || errno == EAGAIN) {
        fail(ErrorKind::conflict, "can't create unix socket {}: another daemon listens on it", path);
    }
    if (::unlink(path.c_str()) < 0 && errno != ENOENT) fail_errno("unlink {}", path);
}

void give_to_group(const std::string& path, const std::string& group) {
    if (group.empty()) return;
    gid_t id = 0;
    if (const auto number = parse_uint(group)) {
        id = static_cast<gid_t>(*number);
    } else {
        const struct group* found = ::getgrnam(group.c_str());
        if (!found) {
            // As dockerd: the default group may be missing, a machine for root alone is fine.
            log::debug("no group {}: {} is root's alone", group, path);
            return;
        }
        id = found->gr_gid;
    }
    if (::lchown(path.c_str(), 0, id) < 0) fail_errno("chown {} to group {}", path, group);
}

Fd listen_unix(const Address& address, const std::string& group) {
    const sockaddr_un name = unix_address(address.path);
    make_directories(std::filesystem::path(address.path).parent_path().string());
    remove_stale(address.path, name);
    Fd socket = open_socket(AF_UNIX);
    const mode_t before = ::umask(0117);  // Single-threaded still: main opens its sockets before the pool.
    const int bound = ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name);
    ::umask(before);
    if (bound < 0) fail_errno("bind {}", address.path);
    give_to_group(address.path, group);
    if (::listen(socket.get(), backlog) < 0) fail_errno("listen on {}", address.path);
    return socket;
}

Fd listen_tcp(const Address& address) {
    sockaddr_storage name{};
    socklen_t size = 0;
    auto* v4 = reinterpret_cast<sockaddr_in*>(&name);
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&name);
    if (::inet_pton(AF_INET, address.host.c_str(), &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(address.port);
        size = sizeof *v4;
    } else if (::inet_pton(AF_INET6, address.host.c_str(), &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(address.port);
        size = sizeof *v6;
    } else {
        fail(ErrorKind::invalid_argument, "{}: not an address", address.host);
    }
    Fd socket = open_socket(name.ss_family);
    const int on = 1;
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&name), size) < 0) fail_errno("bind {}", address.text());
    if (::listen(socket.get(), backlog) < 0) fail_errno("listen on {}", address.text());
    return socket;
}

bool is_loopback(std::string_view host) {
    return host == "::1" || (host.starts_with("127.") && host.find_first_not_of("0123456789.") == host.npos);
}

}  // namespace

std::string Address::text() const {
    if (family == Family::unix_socket) return "unix://" + path;
    return host.contains(':') ? fmt::format("tcp://[{}]:{}", host, port) : fmt::format("tcp://{}:{}", host, port);
}

Address parse_address(std::string_view text) {
    Address address;
    const std::string_view given = text;
    if (text.starts_with("fd://")) fail(ErrorKind::not_implemented, "not implemented: --host {}", given);
    if (text.starts_with("unix://")) text.remove_prefix(7);
    if (text.starts_with('/')) {
        address.path = text;
        return address;
    }
    if (!text.starts_with("tcp://")) {
        fail(ErrorKind::invalid_argument, "invalid bind address ({}): unsupported protocol, use unix:// or tcp://", given);
    }
    text.remove_prefix(6);
    address.family = Address::Family::tcp;
    while (text.ends_with('/')) text.remove_suffix(1);
    std::size_t colon = text.rfind(':');
    if (text.starts_with('[')) {
        const std::size_t close = text.find(']');
        if (close == text.npos) fail(ErrorKind::invalid_argument, "invalid bind address ({}): no closing bracket", given);
        address.host = text.substr(1, close - 1);
        colon = close + 1 < text.size() && text[close + 1] == ':' ? close + 1 : text.npos;
    } else {
        address.host = text.substr(0, colon);
    }
    if (address.host.empty() || address.host == "localhost") address.host = "127.0.0.1";
    const auto port = colon == text.npos ? std::optional<std::uint64_t>{2375} : parse_uint(text.substr(colon + 1));
    if (!port || *port == 0 || *port > 65535) fail(ErrorKind::invalid_argument, "invalid bind address ({}): invalid port", given);
    address.port = static_cast<std::uint16_t>(*port);
    if (!is_loopback(address.host)) {
        fail(ErrorKind::not_implemented,
             "not implemented: --host {} without TLS; whoever reaches it is root here, so only loopback addresses are taken", given);
    }
    return address;
}

Fd listen_on(const Address& address, const std::string& group) {
    return address.family == Address::Family::unix_socket ? listen_unix(address, group) : listen_tcp(address);
}

}  // namespace grua::api
