#include "network/policy.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>

namespace grua::network {
namespace {

TEST(RateTest, ReadsTcsUnits) {
    EXPECT_EQ(parse_rate("1000000"), 1'000'000U);
    EXPECT_EQ(parse_rate("10mbit"), 10'000'000U);
    EXPECT_EQ(parse_rate("1.5Gbit"), 1'500'000'000U);
    EXPECT_EQ(parse_rate("500k"), 500'000U);
    EXPECT_EQ(parse_rate("2mbps"), 16'000'000U);
    EXPECT_EQ(parse_rate("1mibit"), 1'048'576U);
    EXPECT_EQ(parse_rate("none"), 0U);
    EXPECT_EQ(parse_rate("0"), 0U);
    for (const char* bad : {"", "mbit", "10x", "-1", "1e9", "nan", "inf", "10 mbit", "1000tbit", "10mbit "})
        EXPECT_FALSE(parse_rate(bad)) << bad;
}

TEST(RateTest, LimitsNameWhatIsWrong) {
    const RateLimits limits = parse_limits("10mbit", "", "64k");
    EXPECT_EQ(limits.in, (linux::Rate{.bits = 10'000'000, .burst = 65536}));
    EXPECT_EQ(limits.out.bits, 0U);
    EXPECT_FALSE(parse_limits("", "none", "").any());
    EXPECT_THROW(parse_limits("7999", "", ""), Error);
    EXPECT_THROW(parse_limits("", "", "1k"), Error);
    EXPECT_THROW(parse_limits("", "", "64x"), Error);
}

TEST(PolicyTest, ReadsPeersAndPorts) {
    const Policy policy = parse_policy({"network=front,port=80", "label=tier=web,port=53/udp,port=8000-8001", "container=app", "label=a"});
    ASSERT_EQ(policy.size(), 4U);
    EXPECT_EQ(policy[0].ports, (decltype(policy[0].ports){{IPPROTO_TCP, 80}}));
    EXPECT_EQ(policy[1].name, "tier");
    EXPECT_EQ(policy[1].value, "web");
    EXPECT_EQ(policy[1].ports, (decltype(policy[1].ports){{IPPROTO_UDP, 53}, {IPPROTO_TCP, 8000}, {IPPROTO_TCP, 8001}}));
    EXPECT_EQ(policy[2].kind, AllowedPeer::Kind::container);
    EXPECT_TRUE(policy[2].ports.empty());
    EXPECT_FALSE(policy[3].value);
    EXPECT_TRUE(parse_policy({"none"}).empty());
}

TEST(PolicyTest, RefusesWhatIsNoPeer) {
    for (const char* bad : {"", "front", "network=", "port=80", "network=a,container=b", "host=a", "network=a,port=0",
                            "network=a,port=80/x", "network=a,port=1-2000", "network=a,port=", "network=a,,"})
        EXPECT_THROW(parse_policy({bad}), Error) << bad;
    EXPECT_THROW(parse_policy({"none", "network=a"}), Error);
}

}  // namespace
}  // namespace grua::network
