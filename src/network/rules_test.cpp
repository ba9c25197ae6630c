#include "network/rules.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <algorithm>

namespace grua::network {
namespace {

using linux::Ip;

std::vector<std::string> sets(const Elements& elements) {
    std::vector<std::string> out;
    for (const auto& each : elements) out.push_back(std::string(each.set) + " " + each.key.text());
    std::ranges::sort(out);
    return out;
}
using Texts = std::vector<std::string>;

TEST(RulesetTest, ReplacesBothTablesAndCountsItsRules) {
    const std::string text = ruleset("grua_b", {});
    EXPECT_TRUE(text.starts_with("table inet grua_b\ndelete table inet grua_b\ntable inet grua_b {\n")) << text;
    EXPECT_TRUE(text.contains("table bridge grua_b\ndelete table bridge grua_b\n"));
    EXPECT_GT(rule_count_of(text), 20U);
    EXPECT_LT(text.find("established,related accept"), text.find("oifname @bridges drop"));
}

TEST(RulesetTest, ANetworkIsElements) {
    NetworkRules network{.link = "b", .settings = {}};
    EXPECT_EQ(sets(network_elements(network)), (Texts{"bridges \"b\"", "masquerade4 \"b\"", "open \"b\" . \"b\"", "same \"b\" . \"b\""}));
    network.settings.icc = false;
    network.settings.masquerade = false;
    EXPECT_EQ(sets(network_elements(network)), (Texts{"bridges \"b\"", "closed \"b\"", "same \"b\" . \"b\""}));
    EXPECT_TRUE(ruleset("t", network_elements(network)).contains("chain between_closed"));
    network.internal = true;
    EXPECT_EQ(sets(network_elements(network)), (Texts{"bridges \"b\"", "closed \"b\"", "internal \"b\"", "same \"b\" . \"b\""}));
}

TEST(RulesetTest, WhatFewNetworksNeedIsThereWhereItIsNeeded) {
    const auto mac = *linux::Mac::parse("02:42:0a:63:00:02");
    EndpointRules endpoint{.link = "v", .mac = mac, .addresses = {*Ip::parse("10.99.0.2")}};
    const std::string plain = ruleset("t", endpoint_elements(endpoint));
    EXPECT_FALSE(plain.contains("chain share"));
    EXPECT_FALSE(plain.contains("chain between_closed"));
    endpoint.closed = true;
    EXPECT_TRUE(ruleset("t", endpoint_elements(endpoint)).contains("chain between_closed"));
    endpoint.share = 2;
    const std::string both = ruleset("t", endpoint_elements(endpoint));
    EXPECT_TRUE(both.contains("map @shares4") && both.contains("map @shares\n"));
    EXPECT_EQ(needed_rules(restricted_element(endpoint.addresses.front())), OptionalRules::neighbours);
}

TEST(RulesetTest, APortIsOneElement) {
    PortRules port{.protocol = IPPROTO_TCP, .host_address = {}, .host_port = 8080, .address = *Ip::parse("10.99.0.2"), .port = 80};
    EXPECT_EQ(sets(port_elements(port)), Texts{"ports4 6 . 8080"});
    EXPECT_TRUE(ruleset("t", port_elements(port)).contains("add element inet t ports4 { 6 . 8080 : 10.99.0.2 . 80 }\n"));
    port.host_address = Ip::parse("198.51.100.1");
    EXPECT_EQ(sets(port_elements(port)), Texts{"ports4_at 198.51.100.1 . 6 . 8080"});
    port.host_port = 0;
    EXPECT_EQ(sets(port_elements(port)), Texts{"reachable4 10.99.0.2 . 6 . 80"});
}

TEST(RulesetTest, AnEndpointSendsWithItsOwnAddressesOnly) {
    EndpointRules endpoint{
        .link = "v", .mac = *linux::Mac::parse("02:42:0a:63:00:02"), .addresses = {*Ip::parse("10.99.0.2"), *Ip::parse("fd00:99::2")}};
    EXPECT_EQ(sets(endpoint_elements(endpoint)),
              (Texts{"addresses4 \"v\" . 02:42:0a:63:00:02 . 10.99.0.2", "addresses6 \"v\" . 02:42:0a:63:00:02 . fd00:99::2",
                     "addresses6 \"v\" . 02:42:0a:63:00:02 . fe80::42:aff:fe63:2", "macs \"v\" . 02:42:0a:63:00:02", "ports \"v\"",
                     "targets6 \"v\" . fd00:99::2", "targets6 \"v\" . fe80::42:aff:fe63:2"}));
    EXPECT_TRUE(ruleset("t", endpoint_elements(endpoint)).contains("\"v\" . 0xfd000099000000000000000000000002"));
    endpoint.allow_spoofing = true;
    EXPECT_TRUE(endpoint_elements(endpoint).empty());
}

}  // namespace
}  // namespace grua::network
