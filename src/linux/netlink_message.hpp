// Netlink messages as bytes: a builder that keeps lengths right, and a walk over attributes that checks each. For netlink.cpp and tests.
#pragma once

#include <linux/netlink.h>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace grua::linux {

class MessageBuilder {
public:
    template <typename Header>
    MessageBuilder(std::uint16_t type, std::uint16_t flags, const Header& header) {
        nlmsghdr message{};
        message.nlmsg_type = type;
        message.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
        append(&message, sizeof message);
        append(&header, sizeof header);
    }

    void bytes(std::uint16_t type, const void* data, std::size_t size);
    void text(std::uint16_t type, std::string_view text);  ///< Ends in a zero byte, as the kernel wants strings.
    template <typename T>
    void number(std::uint16_t type, T value) {
        static_assert(std::is_integral_v<T>);
        bytes(type, &value, sizeof value);
    }

    /// Attributes that `body` adds are inside.
    template <typename Body>
    void nested(std::uint16_t type, Body&& body) {
        const std::size_t start = bytes_.size();
        bytes(type, nullptr, 0);
        body();
        patch_length(start);
    }

    /// A structure in the message that has no attribute header of its own: VETH_INFO_PEER's ifinfomsg.
    template <typename T>
    void structure(const T& value) {
        append(&value, sizeof value);
    }

    std::vector<std::byte> finish() &&;

private:
    void append(const void* data, std::size_t size);
    void patch_length(std::size_t start);

    std::vector<std::byte> bytes_;
};

/// A whole request: its header, and what `build` adds.
template <typename Build>
std::vector<std::byte> built(std::uint16_t type, std::uint16_t flags, const auto& header, Build&& build) {
    MessageBuilder message(type, flags, header);
    build(message);
    return std::move(message).finish();
}

/// One attribute in a reply; `payload` is within the message.
struct Attribute {
    std::uint16_t type = 0;
    std::span<const std::byte> payload;

    std::string text() const;      ///< Up to the first zero byte.
    std::uint32_t number() const;  ///< Throws Error(system) where it is not four bytes.
};

/// All attributes of a block, in order. Throws Error(system) where a length is wrong.
std::vector<Attribute> attributes(std::span<const std::byte> block);

struct Message {
    std::uint16_t type = 0;
    std::uint16_t flags = 0;
    std::uint32_t sequence = 0;
    std::span<const std::byte> payload;

    /// The fixed header at the payload's start. Throws Error(system) where it is too short.
    template <typename Header>
    Header header() const {
        Header out;
        copy_header(&out, sizeof out);
        return out;
    }
    template <typename Header>
    std::vector<Attribute> attributes_after() const {
        return attributes(payload.subspan(std::min(payload.size(), std::size_t{NLMSG_ALIGN(sizeof(Header))})));
    }

private:
    void copy_header(void* out, std::size_t size) const;
};

/// The messages of one datagram. Throws Error(system) where a length is wrong.
std::vector<Message> messages(std::span<const std::byte> datagram);

}  // namespace grua::linux
