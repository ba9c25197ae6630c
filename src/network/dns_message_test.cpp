#include "network/dns_message.hpp"

#include <gtest/gtest.h>
#include <string>

namespace grua::network::dns {
namespace {

Bytes bytes(std::string_view text) {
    Bytes out;
    for (const char c : text) out.push_back(static_cast<std::byte>(c));
    return out;
}

Bytes query(std::string_view name, std::uint16_t type, std::string_view more = {}) {
    std::string out("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", 12);
    if (!more.empty()) out[11] = 1;
    while (!name.empty()) {
        const auto dot = name.find('.');
        const std::string_view label = name.substr(0, dot);
        out += static_cast<char>(label.size());
        out += label;
        name.remove_prefix(dot == std::string_view::npos ? name.size() : dot + 1);
    }
    out += '\0';
    out += static_cast<char>(type >> 8U);
    out += static_cast<char>(type & 0xffU);
    out += std::string("\x00\x01", 2);
    out += more;
    return bytes(out);
}

TEST(DnsMessageTest, ParsesAQuestion) {
    const auto parsed = parse_query(query("Web.Net", type_a));
    ASSERT_TRUE(parsed.question);
    EXPECT_EQ(parsed.question->name, "web.net");
    EXPECT_EQ(parsed.question->id, 0x1234);
    EXPECT_EQ(parsed.question->type, type_a);
    EXPECT_EQ(parsed.question->udp_size, 512U);
    EXPECT_TRUE(parsed.question->recursion_desired);
    // An OPT record that takes 4096 bytes.
    EXPECT_EQ(parse_query(query("a", type_a, {"\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00", 11})).question->udp_size, 4096U);
}

TEST(DnsMessageTest, RefusesEveryCutAndWhatIsNoQuery) {
    const Bytes whole = query("web.net", type_a);
    for (std::size_t size = 0; size < whole.size(); ++size) {
        const auto parsed = parse_query(View(whole).first(size));
        EXPECT_FALSE(parsed.question) << size;
        EXPECT_EQ(parsed.rcode, size < 12 ? Rcode::no_error : Rcode::format_error) << size;
    }
    Bytes other = whole;
    other[2] = std::byte{0x81};
    EXPECT_EQ(parse_query(other).rcode, Rcode::no_error) << "an answer is not answered";
    other[2] = std::byte{0x29};
    EXPECT_EQ(parse_query(other).rcode, Rcode::not_implemented);
    Bytes pointer = whole;
    pointer[12] = std::byte{0xc0};
    pointer[13] = std::byte{0x0c};
    EXPECT_EQ(parse_query(pointer).rcode, Rcode::format_error) << "a name that points to itself";
    Bytes two = whole;
    two[5] = std::byte{2};
    EXPECT_EQ(parse_query(two).rcode, Rcode::format_error);
}

TEST(DnsMessageTest, AnswersWithAddressesOrSaysThatTheyDoNotFit) {
    const auto question = *parse_query(query("web", type_a)).question;
    std::vector<linux::Ip> addresses{*linux::Ip::parse("10.99.0.2"), *linux::Ip::parse("10.99.0.3")};
    const Bytes two = answer_addresses(question, addresses, 512);
    EXPECT_TRUE(is_answer_to(two, query("WEB", type_a)));
    EXPECT_EQ(two[7], std::byte{2});
    EXPECT_EQ(rcode_of(two), Rcode::no_error);
    addresses.assign(50, *linux::Ip::parse("10.99.0.2"));
    const Bytes cut = answer_addresses(question, addresses, 512);
    EXPECT_LE(cut.size(), 512U);
    EXPECT_EQ(cut[2] & std::byte{2}, std::byte{2}) << "truncated";
    EXPECT_EQ(cut[7], std::byte{0});
    EXPECT_EQ(answer_addresses(question, addresses, 65535)[7], std::byte{50});
    EXPECT_EQ(answer_addresses(question, {}, 512)[7], std::byte{0});
}

TEST(DnsMessageTest, AnAnswerIsToItsQuestionOnly) {
    const Bytes asked = query("web", type_a);
    Bytes answer = answer_error(asked, Rcode::server_failure);
    EXPECT_TRUE(is_answer_to(answer, asked));
    EXPECT_EQ(rcode_of(answer), Rcode::server_failure);
    EXPECT_FALSE(is_answer_to(answer, query("web", type_aaaa)));
    EXPECT_FALSE(is_answer_to(answer, query("wed", type_a)));
    EXPECT_FALSE(is_answer_to(asked, asked)) << "a question is no answer";
    set_id(answer, 0x4321);
    EXPECT_FALSE(is_answer_to(answer, asked));
}

TEST(DnsMessageTest, FindsTheAddressOfAReverseLookup) {
    EXPECT_EQ(reverse_address("2.0.18.172.in-addr.arpa")->text(), "172.18.0.2");
    EXPECT_EQ(reverse_address("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.9.9.0.0.0.0.d.f.ip6.arpa")->text(), "fd00:99::1");
    for (const char* bad : {"", "in-addr.arpa", "0.18.172.in-addr.arpa", "a.b.c.d.in-addr.arpa", "1.0.ip6.arpa", "web"})
        EXPECT_FALSE(reverse_address(bad)) << bad;
}

}  // namespace
}  // namespace grua::network::dns
