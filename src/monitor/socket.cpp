#include "monitor/socket.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/unix_address.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <array>
#include <cstring>

namespace grua::monitor {
namespace {

constexpr std::size_t longest_inline = std::size_t{16} << 10U;
constexpr std::size_t longest_text = std::size_t{8} << 20U;
constexpr int backlog = 8;
constexpr auto socket_name = "monitor.sock";
constexpr auto new_name = "monitor.sock.new";

Fd text_in_memory(std::string_view text) {
    Fd memory(::memfd_create("grua-message", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!memory) fail_errno("memfd_create");
    write_all(memory.get(), text, "a message");
    if (::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) fail_errno("seal a message");
    return memory;
}

/// sun_path has 108 bytes and a folder's path may be longer, so the name is looked up from the folder's descriptor.
sockaddr_un address_in(const Fd& directory, const char* name) {
    return unix_address(fmt::format("/proc/self/fd/{}/{}", directory.get(), name)).value();
}

Fd open_directory(const std::string& path) { return Fd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)); }

template <typename Address>
const sockaddr* generic(const Address& address) {
    return reinterpret_cast<const sockaddr*>(&address);
}

}  // namespace

std::pair<Fd, Fd> socket_pair() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) < 0) fail_errno("socketpair");
    return {Fd(ends[0]), Fd(ends[1])};
}

Sent send(int socket, std::string_view text, std::span<const int> fds, bool nonblocking) {
    std::vector<int> all(fds.begin(), fds.end());
    char form = 't';
    Fd memory;
    if (text.size() > longest_inline) {
        memory = text_in_memory(text);
        all.push_back(memory.get());
        form = 'm';
        text = {};
    }
    if (all.size() > most_fds) fail(ErrorKind::invalid_argument, "{} descriptors are too many for a message", all.size());
    std::array<iovec, 2> parts{{{&form, 1}, {const_cast<char*>(text.data()), text.size()}}};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * most_fds)> control{};
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    if (!all.empty()) {
        message.msg_control = control.data();
        message.msg_controllen = CMSG_SPACE(sizeof(int) * all.size());
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * all.size());
        std::memcpy(CMSG_DATA(header), all.data(), sizeof(int) * all.size());
    }
    for (;;) {
        if (::sendmsg(socket, &message, MSG_NOSIGNAL | (nonblocking ? MSG_DONTWAIT : 0)) >= 0) return Sent::yes;
        if (errno == EINTR) continue;
        if (errno == EAGAIN) return Sent::would_block;
        if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN) return Sent::peer_gone;
        fail_errno("send a message");
    }
}

Received receive(int socket, Packet& out, bool nonblocking) {
    std::array<char, longest_inline + 1> bytes;
    iovec part{bytes.data(), bytes.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * most_fds)> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    ssize_t size = 0;
    do size = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | (nonblocking ? MSG_DONTWAIT : 0));
    while (size < 0 && errno == EINTR);
    if (size < 0 && errno == EAGAIN) return Received::would_block;
    if (size < 0 && errno == ECONNRESET) return Received::closed;
    if (size < 0) fail_errno("receive a message");
    out.text.clear();
    out.fds.clear();
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        std::array<int, most_fds> received{};
        std::memcpy(received.data(), CMSG_DATA(header), sizeof(int) * count);
        for (std::size_t i = 0; i < count; ++i) out.fds.emplace_back(received.at(i));
    }
    if (size == 0) return Received::closed;
    if ((message.msg_flags & MSG_TRUNC) != 0) {
        out.fds.clear();
        fail(ErrorKind::invalid_argument, "a message is too long");
    }
    if (bytes[0] == 't') out.text.assign(bytes.data() + 1, static_cast<std::size_t>(size) - 1);
    if ((message.msg_flags & MSG_CTRUNC) != 0) {
        out.fds.clear();
        fail(ErrorKind::unavailable, "a message's descriptors are lost: this process has as many open as it may have");
    }
    if (bytes[0] == 't') return Received::packet;
    if (bytes[0] != 'm' || out.fds.empty()) fail(ErrorKind::invalid_argument, "a message of an unknown form");
    const Fd memory = std::move(out.fds.back());
    out.fds.pop_back();
    if (::lseek(memory.get(), 0, SEEK_SET) < 0) fail_errno("read a message");
    out.text = read_all(memory.get(), "a message", longest_text);
    return Received::packet;
}

std::optional<Fd> connect_to_monitor(const std::string& directory) {
    const Fd folder = open_directory(directory);
    if (!folder) return std::nullopt;
    const sockaddr_un address = address_in(folder, socket_name);
    Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!socket) fail_errno("socket");
    if (::connect(socket.get(), generic(address), sizeof address) == 0) return socket;
    if (errno == ENOENT || errno == ECONNREFUSED || errno == EAGAIN) return std::nullopt;
    fail_errno("connect to {}/monitor.sock", directory);
}

Fd listen_in(const std::string& directory) {
    const Fd folder = open_directory(directory);
    if (!folder) fail_errno("open {}", directory);
    const sockaddr_un address = address_in(folder, new_name);
    Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) fail_errno("socket");
    (void)::unlinkat(folder.get(), new_name, 0);
    if (::bind(socket.get(), generic(address), sizeof address) < 0) fail_errno("bind {}/{}", directory, new_name);
    (void)::fchmodat(folder.get(), new_name, S_IRUSR | S_IWUSR, 0);
    if (::listen(socket.get(), backlog) < 0) fail_errno("listen on {}/{}", directory, new_name);
    // Whoever finds the name finds somebody who listens.
    if (::renameat(folder.get(), new_name, folder.get(), socket_name) < 0) fail_errno("rename {}/{}", directory, new_name);
    return socket;
}

bool peer_is_trusted(int socket) {
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return false;
    return peer.uid == 0 || peer.uid == ::geteuid();
}

}  // namespace grua::monitor
