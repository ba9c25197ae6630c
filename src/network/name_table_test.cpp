#include "network/name_table.hpp"

#include <gtest/gtest.h>
#include <algorithm>
#include <string>

namespace grua::network {
namespace {

NamedEndpoint endpoint(const std::string& network, std::vector<std::string> names, std::string ipv4, std::string ipv6 = {}) {
    const std::string hostname = names.front();
    return {.network_id = "id-" + network,
            .network_name = network,
            .names = std::move(names),
            .hostname = hostname,
            .ipv4 = std::move(ipv4),
            .ipv6 = std::move(ipv6)};
}

dns::Question question(std::string name, std::uint16_t type = dns::type_a) {
    return {.id = 1, .name = std::move(name), .type = type, .class_ = 1, .recursion_desired = true};
}

/// Where in an answer the bytes of an address are; npos where it does not have it.
std::size_t place_of(const std::optional<dns::Bytes>& answer, const std::string& address) {
    const auto wanted = linux::Ip::parse(address).value().bytes();
    const auto found = std::search(answer->begin(), answer->end(), wanted.begin(), wanted.end());
    return found == answer->end() ? std::string::npos : static_cast<std::size_t>(found - answer->begin());
}
bool has(const std::optional<dns::Bytes>& answer, const std::string& address) {
    return answer && place_of(answer, address) != std::string::npos;
}
bool says(const std::optional<dns::Bytes>& answer, const std::string& text) {
    return answer && std::string(reinterpret_cast<const char*>(answer->data()), answer->size()).contains(text);
}

struct NameTableTest : testing::Test {
    NameTable table;
    ResolverView front{.networks = {"id-front"}};
    ResolverView both{.networks = {"id-back", "id-front"}};

    auto ask(const ResolverView& view, const std::string& name, std::uint16_t type = dns::type_a) {
        return table.answer(view, question(name, type), 512);
    }
};

TEST_F(NameTableTest, AnswersForTheViewsNetworksOnly) {
    table.set("c1", endpoint("front", {"Web", "alias"}, "10.1.0.2", "fd00::2"));
    table.set("c1", endpoint("back", {"web"}, "10.2.0.2"));
    table.set("c2", endpoint("back", {"db"}, "10.2.0.3"));
    EXPECT_TRUE(has(ask(front, "web"), "10.1.0.2"));
    EXPECT_TRUE(has(ask(front, "alias"), "10.1.0.2"));
    EXPECT_TRUE(has(ask(front, "web.front"), "10.1.0.2"));
    EXPECT_TRUE(has(ask(front, "web", dns::type_aaaa), "fd00::2"));
    EXPECT_FALSE(ask(front, "db"));
    EXPECT_FALSE(ask(front, "web.back"));
    EXPECT_TRUE(has(ask(both, "db"), "10.2.0.3"));
    EXPECT_TRUE(has(ask(both, "web"), "10.2.0.2")) << "the first network of the view comes first";
    EXPECT_TRUE(has(ask(both, "web.front"), "10.1.0.2"));
    ASSERT_TRUE(ask(both, "db", dns::type_aaaa)) << "a name that is known is not asked elsewhere";
    EXPECT_FALSE(has(ask(both, "db", dns::type_aaaa), "10.2.0.3"));
    dns::Question chaos = question("web");
    chaos.class_ = 3;
    EXPECT_FALSE(table.answer(front, chaos, 512));
}

TEST_F(NameTableTest, SharedNamesRotate) {
    table.set("c1", endpoint("front", {"one", "service"}, "10.1.0.2"));
    table.set("c2", endpoint("front", {"two", "service"}, "10.1.0.3"));
    const auto first = ask(front, "service");
    const auto second = ask(front, "service");
    ASSERT_TRUE(has(first, "10.1.0.2") && has(first, "10.1.0.3"));
    EXPECT_NE(place_of(first, "10.1.0.2") < place_of(first, "10.1.0.3"), place_of(second, "10.1.0.2") < place_of(second, "10.1.0.3"));
    table.remove("c1", "id-front");
    EXPECT_FALSE(has(ask(front, "service"), "10.1.0.2"));
    EXPECT_TRUE(has(ask(front, "service"), "10.1.0.3"));
}

TEST_F(NameTableTest, SetTakesThePlaceOfWhatWasThere) {
    table.set("c1", endpoint("front", {"old"}, "10.1.0.2"));
    table.set("c1", endpoint("front", {"new"}, "10.1.0.9"));
    EXPECT_FALSE(ask(front, "old"));
    EXPECT_TRUE(has(ask(front, "new"), "10.1.0.9"));
    EXPECT_FALSE(ask(front, "2.0.1.10.in-addr.arpa", dns::type_ptr));
    // An address that another one has by now is not taken away with its first owner.
    table.set("c2", endpoint("front", {"next"}, "10.1.0.9"));
    table.remove("c1", "id-front");
    EXPECT_TRUE(says(ask(front, "9.0.1.10.in-addr.arpa", dns::type_ptr), "next"));
    table.remove("c2", "id-front");
    table.remove("c2", "id-front");
    EXPECT_FALSE(ask(front, "next"));
}

TEST_F(NameTableTest, LinksAreNamesOfTheViewAlone) {
    table.set("c1", endpoint("front", {"web"}, "10.1.0.2"));
    ResolverView linked = front;
    linked.links = {{"db", "Web"}};
    EXPECT_TRUE(has(ask(linked, "db"), "10.1.0.2"));
    EXPECT_FALSE(ask(front, "db"));
}

TEST_F(NameTableTest, TheHostIsToldAllNetworks) {
    table.set("c1", endpoint("front", {"web"}, "10.1.0.2"));
    table.set("c2", endpoint("back", {"web"}, "10.2.0.2"));
    const dns::Bytes query(12);
    const auto ask_host = [&](const std::string& name, std::uint16_t type = dns::type_a) {
        return table.answer_to_host(query, question(name, type), 512);
    };
    for (const char* name : {"web", "web.grua.internal"})
        EXPECT_TRUE(has(ask_host(name), "10.1.0.2") && has(ask_host(name), "10.2.0.2")) << name;
    EXPECT_FALSE(has(ask_host("web.back.grua.internal"), "10.1.0.2"));
    EXPECT_TRUE(has(ask_host("web.back.grua.internal"), "10.2.0.2"));
    EXPECT_TRUE(says(ask_host("2.0.2.10.in-addr.arpa", dns::type_ptr), "internal"));
    EXPECT_EQ(dns::rcode_of(ask_host("nobody.grua.internal")), dns::Rcode::name_error);
    EXPECT_EQ(dns::rcode_of(ask_host("example.com")), dns::Rcode::refused);
    EXPECT_EQ(dns::rcode_of(ask_host("3.0.2.10.in-addr.arpa", dns::type_ptr)), dns::Rcode::refused);
}

}  // namespace
}  // namespace grua::network
