#include "network/address_pool.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>
#include <set>
#include <vector>

namespace grua::network {
namespace {

using linux::Ip;
using linux::IpPrefix;

IpPrefix prefix(const char* text) { return IpPrefix::parse(text).value(); }
Ip ip(const char* text) { return Ip::parse(text).value(); }

TEST(AddressPoolTest, GivesEachOnceAndNeverNetworkOrBroadcast) {
    for (const char* subnet : {"10.0.0.0/30", "10.0.0.0/28", "10.0.0.0/26", "10.0.0.0/24", "10.0.128.0/17", "fd00::/120"}) {
        AddressPool pool(prefix(subnet));
        const std::size_t size = (std::size_t{1} << prefix(subnet).host_bits()) - (prefix(subnet).address.is_v4() ? 2 : 1);
        std::set<Ip> seen;
        while (const auto address = pool.allocate()) {
            EXPECT_TRUE(prefix(subnet).contains(*address));
            EXPECT_NE(*address, prefix(subnet).address);
            if (address->is_v4()) EXPECT_NE(*address, prefix(subnet).last());
            EXPECT_TRUE(seen.insert(*address).second) << address->text();
        }
        EXPECT_EQ(seen.size(), size) << subnet;
    }
}

TEST(AddressPoolTest, ARangeIsGivenFromButAllCanBeReserved) {
    AddressPool pool(prefix("10.0.0.0/24"), prefix("10.0.0.128/30"));
    EXPECT_EQ(pool.reserve(ip("10.0.0.129")), AddressPool::Reserved::yes);
    EXPECT_EQ(pool.reserve(ip("10.0.0.9")), AddressPool::Reserved::yes);
    std::vector<std::string> given;
    while (const auto address = pool.allocate()) given.push_back(address->text());
    EXPECT_EQ(given, (std::vector<std::string>{"10.0.0.128", "10.0.0.130", "10.0.0.131"}));
    EXPECT_THROW(AddressPool(prefix("10.0.0.0/24"), prefix("10.0.1.0/30")), Error);
}

TEST(AddressPoolTest, ALargeIpv6SubnetCostsNothing) {
    AddressPool pool(prefix("fd00:99::/64"));
    EXPECT_EQ(pool.reserve(ip("fd00:99::1")), AddressPool::Reserved::yes);
    EXPECT_EQ(pool.allocate()->text(), "fd00:99::2");
    EXPECT_EQ(pool.reserve(ip("fd00:99:0:1::1")), AddressPool::Reserved::outside);
}

TEST(AddressPoolTest, AFreedAddressComesBackLast) {
    AddressPool pool(prefix("10.0.0.0/29"));
    EXPECT_EQ(pool.reserve(ip("10.0.0.1")), AddressPool::Reserved::yes);
    EXPECT_EQ(pool.allocate()->text(), "10.0.0.2");
    pool.release(ip("10.0.0.2"));
    EXPECT_EQ(pool.allocate()->text(), "10.0.0.3");
    EXPECT_EQ(pool.allocate()->text(), "10.0.0.4");
    EXPECT_EQ(pool.allocate()->text(), "10.0.0.5");
    EXPECT_EQ(pool.allocate()->text(), "10.0.0.6");
    EXPECT_EQ(pool.allocate()->text(), "10.0.0.2");
    EXPECT_FALSE(pool.allocate());
}

TEST(AddressPoolTest, ReserveTellsTakenFromOutside) {
    AddressPool pool(prefix("10.0.0.0/24"));
    EXPECT_EQ(pool.reserve(ip("10.0.0.9")), AddressPool::Reserved::yes);
    EXPECT_EQ(pool.reserve(ip("10.0.0.9")), AddressPool::Reserved::taken);
    for (const char* outside : {"10.0.1.9", "10.0.0.0", "10.0.0.255", "9.255.255.255"}) {
        EXPECT_EQ(pool.reserve(ip(outside)), AddressPool::Reserved::outside) << outside;
    }
    pool.release(ip("10.0.0.9"));
    pool.release(ip("10.0.0.9"));
    pool.release(ip("10.0.0.0"));
    EXPECT_EQ(pool.reserve(ip("10.0.0.9")), AddressPool::Reserved::yes);
}

TEST(AddressPoolTest, RefusesSubnetsThatAreTooSmall) { EXPECT_THROW(AddressPool(prefix("10.0.0.0/31")), Error); }

TEST(ChooseSubnetTest, SkipsWhatTheHostUses) {
    const auto choose = [](std::vector<IpPrefix> used) {
        return choose_subnet(default_bridge_pools(), Ip::Family::v4, std::move(used)).text();
    };
    EXPECT_EQ(choose({}), "172.17.0.0/16");
    EXPECT_EQ(choose({prefix("172.17.42.1/24"), prefix("172.18.0.53/32"), prefix("fd00::/8")}), "172.19.0.0/16");
    EXPECT_EQ(choose({prefix("192.168.0.0/24"), prefix("172.16.0.0/12")}), "192.168.16.0/20");
    EXPECT_THROW(choose({prefix("172.16.0.0/12"), prefix("192.168.0.0/16")}), Error);
}

TEST(ChooseSubnetTest, ThousandsOfNetworksHaveRoom) {
    std::vector<IpPrefix> used{prefix("172.20.3.7/32")};
    for (int i = 0; i < 3000; ++i) {
        const IpPrefix chosen = choose_subnet(network_pools(), Ip::Family::v4, used);
        EXPECT_EQ(chosen.length, 24U);
        for (const IpPrefix& each : used) ASSERT_FALSE(each.overlaps(chosen)) << chosen.text();
        used.push_back(chosen);
    }
}

TEST(ChooseSubnetTest, AUniqueLocalOneComesFromTheId) {
    EXPECT_EQ(choose_unique_local("0123456789abcdef", {}).text(), "fd01:2345:6789::/64");
    EXPECT_EQ(choose_unique_local("0123456789abcdef", {prefix("fd01:2345:6789::/64")}).text(), "fd01:2345:6789:1::/64");
}

TEST(DefaultPoolTest, IsParsedStrictly) {
    EXPECT_EQ(parse_default_pool("base=10.99.0.0/16,size=24").size, 24U);
    for (const char* bad : {"", "base=10.99.0.0/16", "base=10.99.0.0,size=24", "base=10.99.0.0/16,size=8", "base=10.99.0.0/16,size=31"})
        EXPECT_THROW(parse_default_pool(bad), Error) << bad;
}

}  // namespace
}  // namespace grua::network
