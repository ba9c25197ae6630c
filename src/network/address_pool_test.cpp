#include "network/address_pool.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>
#include <set>
#include <vector>

namespace grua::network {
namespace {

using linux::Ipv4;
using linux::Ipv4Prefix;

Ipv4Prefix prefix(const char* text) { return Ipv4Prefix::parse(text).value(); }
Ipv4 ip(const char* text) { return Ipv4::parse(text).value(); }

TEST(AddressPoolTest, GivesEachOnceAndNeverNetworkOrBroadcast) {
    for (const char* subnet : {"10.0.0.0/30", "10.0.0.0/28", "10.0.0.0/26", "10.0.0.0/24", "10.0.128.0/17"}) {
        AddressPool pool(prefix(subnet));
        const std::size_t size = pool.free();
        EXPECT_EQ(size, (std::size_t{1} << (32 - prefix(subnet).length)) - 2);
        std::set<Ipv4> seen;
        while (const auto address = pool.allocate()) {
            EXPECT_TRUE(prefix(subnet).contains(*address));
            EXPECT_NE(*address, prefix(subnet).address);
            EXPECT_NE(*address, prefix(subnet).broadcast());
            EXPECT_TRUE(seen.insert(*address).second) << address->text();
        }
        EXPECT_EQ(seen.size(), size) << subnet;
        EXPECT_EQ(pool.free(), 0U);
    }
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
    EXPECT_EQ(pool.free(), 254U);
}

TEST(AddressPoolTest, RefusesSubnetsThatAreTooLargeOrTooSmall) {
    EXPECT_THROW(AddressPool(prefix("0.0.0.0/7")), Error);
    EXPECT_THROW(AddressPool(prefix("10.0.0.0/31")), Error);
}

TEST(ChooseSubnetTest, SkipsWhatTheHostUses) {
    EXPECT_EQ(choose_subnet({}).text(), "172.17.0.0/16");
    const std::vector used{prefix("172.17.42.1/24"), prefix("172.18.0.53/32")};
    EXPECT_EQ(choose_subnet(used).text(), "172.19.0.0/16");
    const std::vector private_twelve{prefix("172.16.0.0/12"), prefix("192.168.0.0/24")};
    EXPECT_EQ(choose_subnet(private_twelve).text(), "192.168.16.0/20");
    const std::vector all{prefix("172.16.0.0/12"), prefix("192.168.0.0/16")};
    EXPECT_THROW(choose_subnet(all), Error);
}

}  // namespace
}  // namespace grua::network
