#include "linux/netlink_socket.hpp"

#include "linux/netlink_message.hpp"

#include <sys/socket.h>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace grua::linux {

namespace {

constexpr std::size_t buffer_size = std::size_t{64} << 10U;  // The kernel's datagrams have 32 KiB at most.

/// What the kernel says beyond errno, where it says something (NETLINK_EXT_ACK).
std::string extended_text(const Message& message) {
    if (message.type != NLMSG_ERROR || (message.flags & NLM_F_ACK_TLVS) == 0) return {};
    // With NETLINK_CAP_ACK the failed request is not repeated: attributes follow nlmsgerr at once.
    for (const Attribute& attribute : message.attributes_after<nlmsgerr>()) {
        if (attribute.type == NLMSGERR_ATTR_MSG) return attribute.text();
    }
    return {};
}

}  // namespace

Error refusal(std::string_view doing, int os_error, const Message& answer) {
    std::string text = fmt::format("{}: {}", doing, std::generic_category().message(os_error));
    if (const std::string extended = extended_text(answer); !extended.empty()) text += fmt::format(" ({})", extended);
    return {ErrorKind::system, std::move(text), os_error};
}

NetlinkSocket::NetlinkSocket(int protocol)
    : fd_(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)), buffer_(std::make_unique_for_overwrite<std::byte[]>(buffer_size)) {
    if (!fd_) fail_errno("open a netlink socket");
    set_option(NETLINK_EXT_ACK, 1);
    set_option(NETLINK_CAP_ACK, 1);
    // A socket without an address hears nothing.
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    if (::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail_errno("netlink: bind");
}

void NetlinkSocket::set_option(int option, int value) {
    if (::setsockopt(fd_.get(), SOL_NETLINK, option, &value, sizeof value) != 0) fail_errno("netlink: set option {}", option);
}

std::uint32_t NetlinkSocket::number(std::span<std::byte> request) {
    ++sequence_;
    std::memcpy(request.data() + offsetof(nlmsghdr, nlmsg_seq), &sequence_, sizeof sequence_);
    return sequence_;
}

void NetlinkSocket::send(std::span<const std::byte> requests, std::string_view doing) {
    while (::send(fd_.get(), requests.data(), requests.size(), 0) < 0) {
        if (errno != EINTR) fail_errno("{}: netlink: send", doing);
    }
}

/// Empty, with errno, where there is nothing.
std::span<const std::byte> NetlinkSocket::receive(int flags) {
    for (;;) {
        sockaddr_nl sender{};
        socklen_t sender_size = sizeof sender;
        const ssize_t size =
            ::recvfrom(fd_.get(), buffer_.get(), buffer_size, flags | MSG_TRUNC, reinterpret_cast<sockaddr*>(&sender), &sender_size);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return {};
        if (sender.nl_pid != 0) continue;  // Another process may send to this socket; only the kernel is believed.
        if (static_cast<std::size_t>(size) > buffer_size) fail(ErrorKind::system, "netlink: an answer of {} bytes is too long", size);
        return std::span(buffer_.get(), static_cast<std::size_t>(size));
    }
}

void NetlinkSocket::read(std::string_view doing, const OnMessage& on_message) {
    const auto datagram = receive(0);
    if (datagram.empty()) fail_errno("{}: netlink: receive", doing);
    for (const Message& message : messages(datagram)) on_message(message);
}

bool NetlinkSocket::read_waiting(std::string_view doing, const OnMessage& on_message) {
    for (bool lost = false;;) {
        const auto datagram = receive(MSG_DONTWAIT);
        for (const Message& message : messages(datagram)) on_message(message);
        if (!datagram.empty()) continue;
        if (errno == EAGAIN) return lost;
        if (errno != ENOBUFS) fail_errno("{}: netlink: receive", doing);
        lost = true;
    }
}

void NetlinkSocket::ask(std::vector<std::byte> request, std::string_view doing, const OnMessage& on_message) {
    const std::uint32_t sequence = number(request);
    send(request, doing);
    bool changed = false;
    for (bool more = true; more;) {
        read(doing, [&](const Message& message) {
            if (message.sequence != sequence || !more) return;
            changed = changed || (message.flags & NLM_F_DUMP_INTR) != 0;
            if (message.type != NLMSG_DONE && message.type != NLMSG_ERROR) return on_message(message);
            // Both begin with an errno; NLMSG_DONE has a positive one never.
            if (const int error = message.header<int>(); error < 0) throw Error(refusal(doing, -error, message));
            more = false;
        });
    }
    if (changed) throw Error(ErrorKind::unavailable, fmt::format("{}: it changed meanwhile", doing), EINTR);
}

}  // namespace grua::linux
