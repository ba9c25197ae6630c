#include "linux/netlink_message.hpp"

#include "base/error.hpp"

#include <algorithm>

namespace grua::linux {

namespace {

[[noreturn]] void malformed(const char* what) { fail(ErrorKind::system, "netlink: malformed answer: {}", what); }

constexpr std::size_t aligned(std::size_t size) { return (size + 3) & ~std::size_t{3}; }

}  // namespace

void MessageBuilder::append(const void* data, std::size_t size) {
    const auto* first = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), first, first + size);
    bytes_.resize(aligned(bytes_.size()));
}

void MessageBuilder::bytes(std::uint16_t type, const void* data, std::size_t size) {
    nlattr header{};
    if (sizeof header + size > UINT16_MAX) fail(ErrorKind::invalid_argument, "netlink: an attribute of {} bytes is too long", size);
    header.nla_type = type;
    header.nla_len = static_cast<std::uint16_t>(sizeof header + size);
    append(&header, sizeof header);
    if (size > 0) append(data, size);
}

void MessageBuilder::text(std::uint16_t type, std::string_view text) {
    const std::string terminated(text);
    bytes(type, terminated.c_str(), terminated.size() + 1);
}

void MessageBuilder::patch_length(std::size_t start) {
    const std::size_t size = bytes_.size() - start;
    if (size > UINT16_MAX) fail(ErrorKind::invalid_argument, "netlink: an attribute of {} bytes is too long", size);
    const auto length = static_cast<std::uint16_t>(size);
    std::memcpy(bytes_.data() + start + offsetof(nlattr, nla_len), &length, sizeof length);
}

std::vector<std::byte> MessageBuilder::finish() && {
    const auto length = static_cast<std::uint32_t>(bytes_.size());
    std::memcpy(bytes_.data() + offsetof(nlmsghdr, nlmsg_len), &length, sizeof length);
    return std::move(bytes_);
}

std::string Attribute::text() const {
    const auto end = std::ranges::find(payload, std::byte{0});
    return {reinterpret_cast<const char*>(payload.data()), static_cast<std::size_t>(end - payload.begin())};
}

std::uint32_t Attribute::number() const {
    std::uint32_t value = 0;
    if (payload.size() != sizeof value) malformed("a number that is not four bytes long");
    std::memcpy(&value, payload.data(), sizeof value);
    return value;
}

std::vector<Attribute> attributes(std::span<const std::byte> block) {
    std::vector<Attribute> out;
    while (!block.empty()) {
        nlattr header{};
        if (block.size() < sizeof header) malformed("bytes left after the attributes");
        std::memcpy(&header, block.data(), sizeof header);
        if (header.nla_len < sizeof header || header.nla_len > block.size()) malformed("an attribute's length");
        out.push_back(
            {static_cast<std::uint16_t>(header.nla_type & NLA_TYPE_MASK), block.subspan(sizeof header, header.nla_len - sizeof header)});
        block = block.subspan(std::min(block.size(), aligned(header.nla_len)));
    }
    return out;
}

void Message::copy_header(void* out, std::size_t size) const {
    if (payload.size() < size) malformed("a message shorter than its header");
    std::memcpy(out, payload.data(), size);
}

std::vector<Message> messages(std::span<const std::byte> datagram) {
    std::vector<Message> out;
    while (!datagram.empty()) {
        nlmsghdr header{};
        if (datagram.size() < sizeof header) malformed("bytes left after the messages");
        std::memcpy(&header, datagram.data(), sizeof header);
        if (header.nlmsg_len < sizeof header || header.nlmsg_len > datagram.size()) malformed("a message's length");
        Message message;
        message.type = header.nlmsg_type;
        message.flags = header.nlmsg_flags;
        message.sequence = header.nlmsg_seq;
        message.payload = datagram.subspan(sizeof header, header.nlmsg_len - sizeof header);
        out.push_back(message);
        datagram = datagram.subspan(std::min(datagram.size(), aligned(header.nlmsg_len)));
    }
    return out;
}

}  // namespace grua::linux
