#include "api/listen.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "base/unix_address.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <array>
#include <cstring>
#include <filesystem>
#include <utility>

namespace grua::api {

namespace {

/// As many as the kernel lets wait (net.core.somaxconn): a client beyond them is refused by it.
constexpr int backlog = 65535;

sockaddr_un address_of(const std::string& path) {
    const auto address = unix_address(path);
    if (!address) fail(ErrorKind::invalid_argument, "unix://{}: the path is longer than {} bytes", path, sizeof address->sun_path - 1);
    return *address;
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
    if (!S_ISSOCK(status.st_mode)) {
        const char* what = S_ISLNK(status.st_mode) ? "a link" : S_ISDIR(status.st_mode) ? "a folder" : "not a socket";
        fail(ErrorKind::conflict, "can't create unix socket {}: {} is there", path, S_ISREG(status.st_mode) ? "a file" : what);
    }
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
            if (group != default_group) fail(ErrorKind::invalid_argument, "can't create unix socket {}: there is no group {}", path, group);
            // As dockerd: the default group may be missing, a machine for root alone is fine.
            log::debug("no group {}: {} is root's alone", group, path);
            return;
        }
        id = found->gr_gid;
    }
    if (::lchown(path.c_str(), 0, id) < 0) fail_errno("chown {} to group {}", path, group);
}

Listening listen_unix(const Address& address, const std::string& group) {
    const sockaddr_un name = address_of(address.path);
    make_directories(std::filesystem::path(address.path).parent_path().string());
    remove_stale(address.path, name);
    Fd socket = open_socket(AF_UNIX);
    const mode_t before = ::umask(0117);  // Single-threaded still: main opens its sockets before the pool.
    const int bound = ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name);
    ::umask(before);
    if (bound < 0) fail_errno("bind {}", address.path);
    SocketFile file{address.path};
    give_to_group(address.path, group);
    if (::listen(socket.get(), backlog) < 0) fail_errno("listen on {}", address.path);
    return {.socket = std::move(socket), .name = address.text(), .tcp = false, .file = std::move(file)};
}

Listening listen_tcp(const Address& address) {
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
    return {.socket = std::move(socket), .name = address.text(), .tcp = true, .file = {}};
}

bool is_loopback(std::string_view host) {
    return host == "::1" || (host.starts_with("127.") && host.find_first_not_of("0123456789.") == host.npos);
}

void check_reach(const Address& address, Protection tcp) {
    if (tcp == Protection::mutual || is_loopback(address.host)) return;
    fail(ErrorKind::not_implemented,
         "not implemented: --host {} without --tlsverify; whoever reaches it is root here, so only loopback addresses are taken",
         address.text());
}

Address address_of(const sockaddr_storage& name) {
    Address out;
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (name.ss_family == AF_UNIX) {
        sockaddr_un local{};
        std::memcpy(&local, &name, sizeof local);
        out.path.assign(local.sun_path, ::strnlen(local.sun_path, sizeof local.sun_path));
        return out;
    }
    out.family = Address::Family::tcp;
    if (name.ss_family == AF_INET) {
        sockaddr_in v4{};
        std::memcpy(&v4, &name, sizeof v4);
        ::inet_ntop(AF_INET, &v4.sin_addr, text.data(), text.size());
        out.port = ntohs(v4.sin_port);
    } else {
        sockaddr_in6 v6{};
        std::memcpy(&v6, &name, sizeof v6);
        ::inet_ntop(AF_INET6, &v6.sin6_addr, text.data(), text.size());
        out.port = ntohs(v6.sin6_port);
    }
    out.host = text.data();
    return out;
}

/// "3", "*" and nothing.
int parse_descriptor(std::string_view text) {
    if (text.empty() || text == "*") return 0;
    const auto number = parse_uint(text);
    if (!number) fail(ErrorKind::invalid_argument, "failed to parse systemd fd address: should be a number: {}", text);
    if (*number < 3 || *number > 65535)
        fail(ErrorKind::invalid_argument, "invalid bind address (fd://{}): systemd's descriptors begin with 3", text);
    return static_cast<int>(*number);
}

}  // namespace

std::string Address::text() const {
    if (family == Family::inherited) return descriptor == 0 ? std::string("fd://") : fmt::format("fd://{}", descriptor);
    if (family == Family::unix_socket) return "unix://" + path;
    return host.contains(':') ? fmt::format("tcp://[{}]:{}", host, port) : fmt::format("tcp://{}:{}", host, port);
}

Address parse_address(std::string_view text, Protection tcp) {
    Address address;
    const std::string_view given = text;
    if (text.starts_with("fd://")) {
        address.family = Address::Family::inherited;
        address.descriptor = parse_descriptor(text.substr(5));
        return address;
    }
    if (text.starts_with("unix://")) text.remove_prefix(7);
    if (text.starts_with('/')) {
        address.path = text;
        return address;
    }
    if (!text.starts_with("tcp://")) {
        fail(ErrorKind::invalid_argument, "invalid bind address ({}): unsupported protocol, use unix://, tcp:// or fd://", given);
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
    const auto port =
        colon == text.npos ? std::optional<std::uint64_t>{tcp == Protection::none ? 2375 : 2376} : parse_uint(text.substr(colon + 1));
    if (!port || *port == 0 || *port > 65535) fail(ErrorKind::invalid_argument, "invalid bind address ({}): invalid port", given);
    address.port = static_cast<std::uint16_t>(*port);
    check_reach(address, tcp);
    return address;
}

SocketFile::SocketFile(std::string path) : path_(std::move(path)) {
    struct stat status{};
    if (::lstat(path_.c_str(), &status) < 0) fail_errno("stat {}", path_);
    device_ = status.st_dev;
    inode_ = status.st_ino;
}

SocketFile::SocketFile(SocketFile&& other) noexcept : path_(std::exchange(other.path_, {})), device_(other.device_), inode_(other.inode_) {}

SocketFile& SocketFile::operator=(SocketFile&& other) noexcept {
    if (this == &other) return *this;
    remove();
    path_ = std::exchange(other.path_, {});
    device_ = other.device_;
    inode_ = other.inode_;
    return *this;
}

void SocketFile::remove() noexcept {
    struct stat status{};
    if (!path_.empty() && ::lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_)
        ::unlink(path_.c_str());
    path_.clear();
}

Listening listen_on(const Address& address, const std::string& group) {
    return address.family == Address::Family::unix_socket ? listen_unix(address, group) : listen_tcp(address);
}

Listening adopt(Fd socket, Protection tcp) {
    const auto option = [&](int which) {
        int value = 0;
        socklen_t size = sizeof value;
        return ::getsockopt(socket.get(), SOL_SOCKET, which, &value, &size) == 0 ? value : -1;
    };
    const auto refuse = [&](std::string_view why) { fail(ErrorKind::invalid_argument, "fd://{}: {}", socket.get(), why); };
    if (option(SO_TYPE) != SOCK_STREAM || option(SO_ACCEPTCONN) != 1) refuse("systemd gave no socket that listens for streams");
    sockaddr_storage name{};
    socklen_t size = sizeof name;
    if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&name), &size) < 0) fail_errno("fd://{}", socket.get());
    if (name.ss_family != AF_UNIX && name.ss_family != AF_INET && name.ss_family != AF_INET6)
        refuse("systemd gave a socket that is neither unix nor tcp");
    const Address address = address_of(name);
    const bool by_tcp = address.family == Address::Family::tcp;
    if (by_tcp) check_reach(address, tcp);
    if (::fcntl(socket.get(), F_SETFL, O_NONBLOCK) < 0) fail_errno("fd://{}", socket.get());
    return {.socket = std::move(socket), .name = address.text(), .tcp = by_tcp, .file = {}};
}

}  // namespace grua::api
