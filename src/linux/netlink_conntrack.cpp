#include "linux/netlink_conntrack.hpp"

#include "linux/netlink_message.hpp"
#include "linux/netlink_socket.hpp"

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <cerrno>
#include <optional>
#include <span>
#include <vector>

namespace grua::linux {

namespace {

// Of CTA_FILTER: the protocol is compared. The kernel's header for programs does not name the flags.
constexpr std::uint32_t by_protocol = 1U << 3U;

std::uint16_t message_type(unsigned message) { return static_cast<std::uint16_t>((NFNL_SUBSYS_CTNETLINK << 8U) | message); }

nfgenmsg header_of(Ip::Family family) {
    // With version 0 the kernel takes a request for all families.
    return {.nfgen_family = static_cast<std::uint8_t>(family == Ip::Family::v4 ? AF_INET : AF_INET6), .version = 1, .res_id = 0};
}

struct Tuple {
    std::optional<Ip> source, destination;
    std::uint16_t destination_port = 0;
};

Tuple parse_tuple(std::span<const std::byte> block) {
    Tuple out;
    for (const Attribute& part : attributes(block)) {
        for (const Attribute& each : attributes(part.payload)) {
            const bool is_source = each.type == CTA_IP_V4_SRC || each.type == CTA_IP_V6_SRC;
            if (part.type == CTA_TUPLE_IP && (each.payload.size() == 4 || each.payload.size() == 16))
                (is_source ? out.source : out.destination) = Ip::from_bytes(each.payload);
            if (part.type == CTA_TUPLE_PROTO && each.type == CTA_PROTO_DST_PORT && each.payload.size() == 2)
                out.destination_port = static_cast<std::uint16_t>(std::to_integer<unsigned>(each.payload[0]) << 8U |
                                                                  std::to_integer<unsigned>(each.payload[1]));
        }
    }
    return out;
}

/// The request that forgets the flow of a message of the list, where it is meant.
std::optional<std::vector<std::byte>> removal_of(const Message& message, Ip::Family family,
                                                 const std::function<bool(const Flow&)>& is_meant) {
    Tuple original;
    Tuple reply;
    const std::vector<Attribute> all = message.attributes_after<nfgenmsg>();
    for (const Attribute& each : all) {
        if (each.type == CTA_TUPLE_ORIG) original = parse_tuple(each.payload);
        if (each.type == CTA_TUPLE_REPLY) reply = parse_tuple(each.payload);
    }
    if (!original.destination || !reply.source) return std::nullopt;
    if (!is_meant({.destination = *original.destination, .destination_port = original.destination_port, .answered_by = *reply.source}))
        return std::nullopt;
    return built(message_type(IPCTNL_MSG_CT_DELETE), NLM_F_ACK, header_of(family), [&](MessageBuilder& out) {
        // The ID says that it is still the same one.
        for (const Attribute& each : all) {
            if (each.type == CTA_TUPLE_ORIG) out.bytes(CTA_TUPLE_ORIG | NLA_F_NESTED, each.payload.data(), each.payload.size());
            if (each.type == CTA_ID || each.type == CTA_ZONE) out.bytes(each.type, each.payload.data(), each.payload.size());
        }
    });
}

}  // namespace

void forget_flows(Ip::Family family, std::uint8_t protocol, const std::function<bool(const Flow&)>& is_meant) {
    NetlinkSocket socket(NETLINK_NETFILTER);
    const auto request = built(message_type(IPCTNL_MSG_CT_GET), NLM_F_DUMP, header_of(family), [&](MessageBuilder& message) {
        message.nested(CTA_TUPLE_ORIG | NLA_F_NESTED,
                       [&] { message.nested(CTA_TUPLE_PROTO | NLA_F_NESTED, [&] { message.number(CTA_PROTO_NUM, protocol); }); });
        message.nested(CTA_FILTER | NLA_F_NESTED, [&] { message.number(CTA_FILTER_ORIG_FLAGS, by_protocol); });
    });
    auto removals = retried([&] {
        std::vector<std::vector<std::byte>> out;
        socket.ask(request, "connection tracking: list", [&](const Message& message) {
            if (auto removal = removal_of(message, family, is_meant)) out.push_back(std::move(*removal));
        });
        return out;
    });
    for (auto& each : removals) {
        try {
            socket.ask(std::move(each), "connection tracking: forget a flow", [](const Message&) {});
        } catch (const Error& error) {
            // It may have ended by itself.
            if (error.os_error() != ENOENT) throw;
        }
    }
}

}  // namespace grua::linux
