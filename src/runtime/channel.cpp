#include "runtime/channel.hpp"

#include "base/error.hpp"
#include "base/passed_descriptor.hpp"

#include <sys/socket.h>
#include <array>
#include <cstring>
#include <optional>

namespace grua::runtime {

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
    std::optional<PassedDescriptor> passed;
    if (fd >= 0) passed.emplace(message, fd);
    if (::sendmsg(socket_.get(), &message, MSG_NOSIGNAL) < 0) fail_errno("tell the other side of the start");
}

std::optional<Channel::Message> Channel::receive() const {
    Word word{};
    iovec part{&word, sizeof word};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    ssize_t got = -1;
    // Who closes with something unread leaves this error in front of all that it had sent; behind it are the messages.
    do got = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && (errno == EINTR || errno == ECONNRESET));
    if (got < 0) fail_errno("hear from the other side of the start");
    if (got == 0) return std::nullopt;

    Message out{word, Fd{}};
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_type == SCM_RIGHTS) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
        out.fd = Fd{fd};
    }
    if ((message.msg_flags & MSG_CTRUNC) != 0) {
        errno = EMFILE;
        fail_errno("take a descriptor of the container");
    }
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
