#include "runtime/channel.hpp"

#include <sys/socket.h>
#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

namespace grua::runtime {
namespace {

struct Packet {
    Word word;
    ErrorKind kind;
    std::int32_t os_error;
    std::uint32_t size;
    std::array<char, 4096> text;
};

}  // namespace

std::pair<Channel, Channel> Channel::make() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) fail_errno("create a socket pair");
    return {Channel{Fd{ends[0]}}, Channel{Fd{ends[1]}}};
}

void Channel::send(Word word, int fd) const {
    iovec part{&word, sizeof word};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    if (fd >= 0) {
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    if (::sendmsg(socket_.get(), &message, MSG_NOSIGNAL) < 0) fail_errno("tell the other side of the start");
}

void Channel::send(const Error& error) const noexcept {
    Packet packet{Word::failed, error.kind(), error.os_error(), 0, {}};
    const std::string_view text = error.what();
    packet.size = static_cast<std::uint32_t>(std::min(text.size(), packet.text.size()));
    std::copy_n(text.data(), packet.size, packet.text.data());
    [[maybe_unused]] const auto sent = ::send(socket_.get(), &packet, sizeof packet, MSG_NOSIGNAL);
}

std::optional<Channel::Message> Channel::receive() const {
    Packet packet{};
    iovec part{&packet, sizeof packet};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    ssize_t got = -1;
    do got = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno != ECONNRESET) fail_errno("hear from the other side of the start");
    if (got <= 0) return std::nullopt;

    Message out{packet.word, Fd{}};
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_type == SCM_RIGHTS) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
        out.fd = Fd{fd};
    }
    if (packet.word == Word::failed) throw Error{packet.kind, std::string(packet.text.data(), packet.size), packet.os_error};
    return out;
}

void Channel::expect(Word word) const {
    const auto message = receive();
    if (!message) fail(ErrorKind::system, "the other side of the start has ended");
    if (message->word != word)
        fail(ErrorKind::system, "the other side of the start said {}, not {}", static_cast<unsigned>(message->word),
             static_cast<unsigned>(word));
}

}  // namespace grua::runtime
