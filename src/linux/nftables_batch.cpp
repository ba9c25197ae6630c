#include "linux/nftables_batch.hpp"

#include "base/error.hpp"
#include "base/fd.hpp"
#include "linux/netlink_message.hpp"

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <span>

namespace grua::linux {

namespace {

static_assert(sizeof(NftHeader) == sizeof(nfgenmsg));

std::vector<std::byte> batch_mark(std::uint16_t type) {
    NftHeader header = nft_header(AF_UNSPEC);
    header.resource = htons(NFNL_SUBSYS_NFTABLES);
    MessageBuilder message(type, 0, header);
    return std::move(message).finish();
}

}  // namespace

NftHeader nft_header(unsigned char family) { return {.family = family, .version = NFNETLINK_V0, .resource = 0}; }

NftSocket::NftSocket() : fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER)) {
    if (!fd) fail_errno("nftables: open a netlink socket");
}

void run_nft_batch(NftSocket& nft, std::vector<std::vector<std::byte>> messages_out, std::string_view doing) {
    const int socket = nft.fd.get();
    std::vector<std::byte> datagram = batch_mark(NFNL_MSG_BATCH_BEGIN);
    const std::uint32_t before = nft.sequence;
    for (auto& message : messages_out) {
        const std::uint32_t sequence = ++nft.sequence;
        std::memcpy(message.data() + offsetof(nlmsghdr, nlmsg_seq), &sequence, sizeof sequence);
        datagram.insert(datagram.end(), message.begin(), message.end());
    }
    const auto end = batch_mark(NFNL_MSG_BATCH_END);
    datagram.insert(datagram.end(), end.begin(), end.end());
    const int size = static_cast<int>(datagram.size()) * 2;
    ::setsockopt(socket, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    while (::send(socket, datagram.data(), datagram.size(), 0) < 0) {
        if (errno != EINTR) fail_errno("{}: nftables: send", doing);
    }
    // The kernel answered within send(): an acknowledgement for each message, or errors alone.
    std::array<std::byte, std::size_t{64} << 10U> buffer;
    int os_error = 0;
    for (std::size_t answered = 0; answered < messages_out.size() && os_error == 0;) {
        const ssize_t got = ::recv(socket, buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail_errno("{}: nftables: receive", doing);
        for (const Message& message : messages(std::span(buffer).first(static_cast<std::size_t>(got)))) {
            // After an error there may be more that the last transaction did not wait for.
            if (message.type != NLMSG_ERROR || message.sequence - before - 1 >= messages_out.size()) continue;
            ++answered;
            if (const int error = -message.header<nlmsgerr>().error; error != 0 && os_error == 0) os_error = error;
        }
    }
    if (os_error == 0) return;
    errno = os_error;
    fail_errno("{}: nftables", doing);
}

}  // namespace grua::linux
