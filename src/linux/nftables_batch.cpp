#include "linux/nftables_batch.hpp"

#include "base/error.hpp"
#include "linux/netlink_message.hpp"

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>
#include <cstdint>
#include <optional>

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

void run_nft_batch(NetlinkSocket& socket, std::vector<std::vector<std::byte>> requests, std::string_view doing) {
    std::vector<std::byte> datagram = batch_mark(NFNL_MSG_BATCH_BEGIN);
    const std::uint32_t first = socket.number(datagram);
    for (auto& request : requests) {
        socket.number(request);
        datagram.insert(datagram.end(), request.begin(), request.end());
    }
    const auto end = batch_mark(NFNL_MSG_BATCH_END);
    datagram.insert(datagram.end(), end.begin(), end.end());
    const int size = static_cast<int>(datagram.size()) * 2;
    ::setsockopt(socket.fd(), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    const std::string what = fmt::format("{}: nftables", doing);
    socket.send(datagram, what);
    // The kernel answered within send(): an acknowledgement for each request, or errors. What fails as a whole, when all is checked,
    // is an error of the mark.
    std::optional<Error> failure;
    std::size_t answered = 0;
    socket.read_waiting(what, [&](const Message& message) {
        if (message.type != NLMSG_ERROR || message.sequence - first > requests.size()) return;
        const int os_error = -message.header<nlmsgerr>().error;
        if (os_error == 0) {
            ++answered;
        } else if (!failure) {
            failure = refusal(what, os_error, message);
        }
    });
    if (failure) throw Error(*failure);
    if (answered < requests.size()) fail(ErrorKind::system, "{}: {} of {} requests were answered", what, answered, requests.size());
}

}  // namespace grua::linux
