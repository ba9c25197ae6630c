#include "network/rules.hpp"

#include <gtest/gtest.h>

namespace grua::network {
namespace {

TEST(RulesetTest, NamesTheBridgeInEachRuleAndReplacesTheTable) {
    const RulesOptions options{.bridge = "grua0", .subnet = *linux::Ipv4Prefix::parse("172.17.0.0/16")};
    const Ruleset made = ruleset(options);
    EXPECT_EQ(made.rules, 5U);
    EXPECT_TRUE(made.text.starts_with("table inet grua_grua0\ndelete table inet grua_grua0\ntable inet grua_grua0 {\n")) << made.text;
    EXPECT_TRUE(made.text.contains("ip saddr 172.17.0.0/16 oifname != \"grua0\" masquerade\n"));
    EXPECT_TRUE(made.text.contains("iifname \"grua0\" oifname \"grua0\" accept\n"));
    EXPECT_LT(made.text.find("established,related accept"), made.text.find("oifname \"grua0\" drop"));
}

TEST(RulesetTest, WithoutMasqueradingOrIcc) {
    const Ruleset made = ruleset({.bridge = "b", .subnet = *linux::Ipv4Prefix::parse("10.0.0.0/8"), .masquerade = false, .icc = false});
    EXPECT_EQ(made.rules, 4U);
    EXPECT_FALSE(made.text.contains("masquerade"));
    EXPECT_TRUE(made.text.contains("iifname \"b\" oifname \"b\" drop\n"));
}

}  // namespace
}  // namespace grua::network
