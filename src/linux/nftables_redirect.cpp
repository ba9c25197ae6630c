#include "linux/nftables_redirect.hpp"

#include "base/error.hpp"
#include "linux/netlink_message.hpp"
#include "linux/nftables_batch.hpp"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netinet/in.h>
#include <string>
#include <vector>

namespace grua::linux {

namespace {

// Where things are in the headers of IPv4, TCP and UDP.
constexpr std::uint32_t source_address = 12, destination_address = 16;
constexpr std::uint32_t source_port = 0, destination_port = 2;
constexpr std::uint32_t udp_checksum = 6, tcp_checksum = 16;

std::uint16_t message_type(unsigned message) { return static_cast<std::uint16_t>((NFNL_SUBSYS_NFTABLES << 8U) | message); }

class Rule {
public:
    Rule(std::string_view table, std::string_view chain)
        : message_(message_type(NFT_MSG_NEWRULE), NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND, nft_header(NFPROTO_IPV4)) {
        message_.text(NFTA_RULE_TABLE, table);
        message_.text(NFTA_RULE_CHAIN, chain);
    }

    template <typename Body>
    std::vector<std::byte> with(Body body) && {
        message_.nested(NFTA_RULE_EXPRESSIONS | NLA_F_NESTED, [&] { body(*this); });
        return std::move(message_).finish();
    }

    void payload_is(std::uint32_t base, std::uint32_t offset, const std::vector<std::byte>& value) {
        expression("payload", [&] {
            number(NFTA_PAYLOAD_DREG, NFT_REG_1);
            number(NFTA_PAYLOAD_BASE, base);
            number(NFTA_PAYLOAD_OFFSET, offset);
            number(NFTA_PAYLOAD_LEN, static_cast<std::uint32_t>(value.size()));
        });
        compare(value);
    }
    void protocol_is(std::uint8_t protocol) {
        expression("meta", [&] {
            number(NFTA_META_DREG, NFT_REG_1);
            number(NFTA_META_KEY, NFT_META_L4PROTO);
        });
        compare({static_cast<std::byte>(protocol)});
    }
    void set_port(std::uint32_t offset, const std::vector<std::byte>& port, std::uint32_t checksum) {
        expression("immediate", [&] {
            number(NFTA_IMMEDIATE_DREG, NFT_REG_1);
            message_.nested(NFTA_IMMEDIATE_DATA | NLA_F_NESTED, [&] { message_.bytes(NFTA_DATA_VALUE, port.data(), port.size()); });
        });
        expression("payload", [&] {
            number(NFTA_PAYLOAD_SREG, NFT_REG_1);
            number(NFTA_PAYLOAD_BASE, NFT_PAYLOAD_TRANSPORT_HEADER);
            number(NFTA_PAYLOAD_OFFSET, offset);
            number(NFTA_PAYLOAD_LEN, static_cast<std::uint32_t>(port.size()));
            number(NFTA_PAYLOAD_CSUM_TYPE, NFT_PAYLOAD_CSUM_INET);
            number(NFTA_PAYLOAD_CSUM_OFFSET, checksum);
        });
    }

private:
    template <typename Body>
    void expression(std::string_view name, Body body) {
        message_.nested(NFTA_LIST_ELEM | NLA_F_NESTED, [&] {
            message_.text(NFTA_EXPR_NAME, name);
            message_.nested(NFTA_EXPR_DATA | NLA_F_NESTED, body);
        });
    }
    void compare(const std::vector<std::byte>& value) {
        expression("cmp", [&] {
            number(NFTA_CMP_SREG, NFT_REG_1);
            number(NFTA_CMP_OP, NFT_CMP_EQ);
            message_.nested(NFTA_CMP_DATA | NLA_F_NESTED, [&] { message_.bytes(NFTA_DATA_VALUE, value.data(), value.size()); });
        });
    }
    void number(std::uint16_t type, std::uint32_t value) { message_.number(type, htonl(value)); }

    MessageBuilder message_;
};

std::vector<std::byte> port_bytes(std::uint16_t port) { return {static_cast<std::byte>(port >> 8U), static_cast<std::byte>(port & 0xffU)}; }

std::vector<std::byte> table_message(unsigned type, std::uint16_t flags, std::string_view name) {
    MessageBuilder message(message_type(type), static_cast<std::uint16_t>(NLM_F_ACK | flags), nft_header(NFPROTO_IPV4));
    message.text(NFTA_TABLE_NAME, name);
    return std::move(message).finish();
}

std::vector<std::byte> chain_message(std::string_view table, std::string_view chain) {
    MessageBuilder message(message_type(NFT_MSG_NEWCHAIN), NLM_F_ACK | NLM_F_CREATE, nft_header(NFPROTO_IPV4));
    message.text(NFTA_CHAIN_TABLE, table);
    message.text(NFTA_CHAIN_NAME, chain);
    message.nested(NFTA_CHAIN_HOOK | NLA_F_NESTED, [&] {
        message.number(NFTA_HOOK_HOOKNUM, htonl(NF_INET_LOCAL_OUT));
        message.number(NFTA_HOOK_PRIORITY, htonl(0));
    });
    message.text(NFTA_CHAIN_TYPE, "filter");
    return std::move(message).finish();
}

}  // namespace

void redirect_port(std::string_view name, const PortRedirect& redirect) {
    constexpr std::string_view doing = "redirect a port";
    std::vector<std::vector<std::byte>> messages{table_message(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, name),
                                                 chain_message(name, "output")};
    const std::vector<std::byte> address = redirect.address.bytes();
    const auto add = [&](std::uint8_t protocol, std::uint32_t checksum, std::uint32_t address_at, std::uint32_t port_at, std::uint16_t from,
                         std::uint16_t to) {
        messages.push_back(Rule(name, "output").with([&](Rule& rule) {
            rule.payload_is(NFT_PAYLOAD_NETWORK_HEADER, address_at, address);
            rule.protocol_is(protocol);
            rule.payload_is(NFT_PAYLOAD_TRANSPORT_HEADER, port_at, port_bytes(from));
            rule.set_port(port_at, port_bytes(to), checksum);
        }));
    };
    struct Transport {
        std::uint8_t protocol;
        std::uint32_t checksum;
        std::uint16_t target;
    };
    for (const auto& [protocol, checksum, target] :
         {Transport{IPPROTO_UDP, udp_checksum, redirect.udp_target}, Transport{IPPROTO_TCP, tcp_checksum, redirect.tcp_target}}) {
        add(protocol, checksum, destination_address, destination_port, redirect.port, target);
        add(protocol, checksum, source_address, source_port, target, redirect.port);
    }
    NetlinkSocket socket(NETLINK_NETFILTER);
    try {
        run_nft_batch(socket, messages, doing);
    } catch (const Error& error) {
        if (error.os_error() != EEXIST) throw;
        // Only where one is there: to delete is to wait.
        messages.insert(messages.begin(), table_message(NFT_MSG_DELTABLE, 0, name));
        run_nft_batch(socket, std::move(messages), doing);
    }
}

}  // namespace grua::linux
