#include "linux/nftables_elements.hpp"

#include "base/error.hpp"
#include "linux/netlink_message.hpp"
#include "linux/nftables_batch.hpp"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <net/if.h>
#include <algorithm>
#include <array>
#include <span>

namespace grua::linux {

namespace {

// An attribute's length has 16 bits: what one message holds stays far below.
constexpr std::size_t elements_per_message = 256;
constexpr std::size_t field = 4;

void put_data(MessageBuilder& message, std::uint16_t type, const NftBytes& data) {
    message.nested(type | NLA_F_NESTED, [&] { message.bytes(NFTA_DATA_VALUE, data.bytes().data(), data.bytes().size()); });
}

std::vector<std::byte> element_message(std::string_view table, std::uint16_t type, std::span<const NftElement> elements) {
    const bool adds = type == NFT_MSG_NEWSETELEM;
    MessageBuilder message(static_cast<std::uint16_t>((NFNL_SUBSYS_NFTABLES << 8U) | type),
                           static_cast<std::uint16_t>(NLM_F_ACK | (adds ? NLM_F_CREATE : 0)),
                           nft_header(static_cast<unsigned char>(elements.front().family)));
    message.text(NFTA_SET_ELEM_LIST_TABLE, table);
    message.text(NFTA_SET_ELEM_LIST_SET, elements.front().set);
    message.nested(NFTA_SET_ELEM_LIST_ELEMENTS | NLA_F_NESTED, [&] {
        for (const NftElement& each : elements) {
            message.nested(NFTA_LIST_ELEM | NLA_F_NESTED, [&] {
                put_data(message, NFTA_SET_ELEM_KEY, each.key);
                if (adds && !each.value.bytes().empty()) put_data(message, NFTA_SET_ELEM_DATA, each.value);
            });
        }
    });
    return std::move(message).finish();
}

/// One message for each run of elements of the same set.
void append(std::vector<std::vector<std::byte>>& messages, std::string_view table, std::uint16_t type,
            std::span<const NftElement> elements) {
    while (!elements.empty()) {
        const auto same = [&](const NftElement& each) {
            return each.set == elements.front().set && each.family == elements.front().family;
        };
        const auto end = std::ranges::find_if_not(elements, same);
        const auto run = std::min(static_cast<std::size_t>(end - elements.begin()), elements_per_message);
        messages.push_back(element_message(table, type, elements.first(run)));
        elements = elements.subspan(run);
    }
}

}  // namespace

std::string_view to_string(NftFamily family) {
    switch (family) {
        case NftFamily::inet:
            return "inet";
        case NftFamily::ip:
            return "ip";
        case NftFamily::ip6:
            return "ip6";
        case NftFamily::bridge:
            break;
    }
    return "bridge";
}

NftBytes& NftBytes::append(const void* data, std::size_t size, std::string_view text) {
    const auto* bytes = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), bytes, bytes + size);
    bytes_.resize((bytes_.size() + field - 1) / field * field);
    if (!text_.empty()) text_ += " . ";
    text_ += text;
    return *this;
}

NftBytes& NftBytes::ip(const Ip& address) {
    const auto bytes = address.bytes();
    return append(bytes.data(), bytes.size(), address.text());
}

NftBytes& NftBytes::port(std::uint16_t port) {
    const std::uint16_t wire = htons(port);
    return append(&wire, sizeof wire, std::to_string(port));
}

NftBytes& NftBytes::protocol(std::uint8_t protocol) { return append(&protocol, sizeof protocol, std::to_string(protocol)); }

NftBytes& NftBytes::interface(std::string_view name) {
    std::array<char, IFNAMSIZ> padded{};
    if (name.size() >= padded.size()) fail(ErrorKind::invalid_argument, "\"{}\" is no interface name", name);
    std::ranges::copy(name, padded.begin());
    return append(padded.data(), padded.size(), fmt::format("\"{}\"", name));
}

NftBytes& NftBytes::priority(std::uint32_t priority) {
    return append(&priority, sizeof priority, fmt::format("{:x}:{:x}", priority >> 16, priority & 0xffff));
}

NftBytes& NftBytes::mac(const Mac& mac) { return append(mac.bytes.data(), mac.bytes.size(), mac.text()); }

void change_elements(NetlinkSocket& socket, std::string_view table, const std::vector<NftElement>& removed,
                     const std::vector<NftElement>& added, std::string_view doing) {
    std::vector<std::vector<std::byte>> messages_out;
    append(messages_out, table, NFT_MSG_DELSETELEM, removed);
    append(messages_out, table, NFT_MSG_NEWSETELEM, added);
    if (messages_out.empty()) return;

    run_nft_batch(socket, std::move(messages_out), doing);
}

}  // namespace grua::linux
