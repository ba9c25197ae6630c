#include "linux/netlink.hpp"
#include "linux/netlink_message.hpp"

#include <gtest/gtest.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <unistd.h>
#include <thread>

namespace grua::linux {
namespace {

TEST(Ipv4Test, ParsesOnlyDottedQuads) {
    EXPECT_EQ(Ipv4::parse("172.17.0.2")->value, 0xac110002U);
    EXPECT_EQ(Ipv4{0xac110002U}.text(), "172.17.0.2");
    for (const char* bad : {"", "1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.4 ", "::1", "a.b.c.d"})
        EXPECT_FALSE(Ipv4::parse(bad)) << bad;
    EXPECT_FALSE(Ipv4::parse(std::string_view("1.2.3.4\0", 8)));
}

TEST(Ipv4PrefixTest, KnowsItsSubnet) {
    const auto prefix = Ipv4Prefix::parse("172.17.5.1/16").value();
    EXPECT_EQ(prefix.subnet().text(), "172.17.0.0/16");
    EXPECT_EQ(prefix.broadcast().text(), "172.17.255.255");
    EXPECT_TRUE(prefix.contains(*Ipv4::parse("172.17.9.9")));
    EXPECT_FALSE(prefix.contains(*Ipv4::parse("172.18.0.0")));
    EXPECT_TRUE(prefix.overlaps(*Ipv4Prefix::parse("172.16.0.0/12")));
    EXPECT_FALSE(prefix.overlaps(*Ipv4Prefix::parse("10.0.0.0/8")));
    EXPECT_TRUE(prefix.overlaps(*Ipv4Prefix::parse("0.0.0.0/0")));
    for (const char* bad : {"1.2.3.4", "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/-1", "/8"}) EXPECT_FALSE(Ipv4Prefix::parse(bad)) << bad;
}

TEST(MacTest, RefusesGroupAddresses) {
    EXPECT_EQ(Mac::parse("02:42:AC:11:00:02")->text(), "02:42:ac:11:00:02");
    EXPECT_EQ(Mac::from_ip(*Ipv4::parse("172.17.0.2")).text(), "02:42:ac:11:00:02");
    for (const char* bad : {"", "02:42:ac:11:00", "01:42:ac:11:00:02", "00:00:00:00:00:00", "02:42:ac:11:00:0g", "02.42.ac.11.00.02"}) {
        EXPECT_FALSE(Mac::parse(bad)) << bad;
    }
}

TEST(NetlinkMessageTest, BuildsWhatItParses) {
    ifinfomsg header{};
    header.ifi_index = 7;
    MessageBuilder builder(RTM_NEWLINK, NLM_F_ACK, header);
    builder.text(IFLA_IFNAME, "eth0");
    builder.nested(IFLA_LINKINFO, [&] { builder.text(IFLA_INFO_KIND, "veth"); });
    builder.number(IFLA_MTU, 1500U);
    const auto bytes = std::move(builder).finish();

    const auto found = messages(bytes);
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].type, RTM_NEWLINK);
    EXPECT_EQ(found[0].header<ifinfomsg>().ifi_index, 7);
    const auto attrs = found[0].attributes_after<ifinfomsg>();
    ASSERT_EQ(attrs.size(), 3U);
    EXPECT_EQ(attrs[0].text(), "eth0");
    EXPECT_EQ(attributes(attrs[1].payload).at(0).text(), "veth");
    EXPECT_EQ(attrs[2].number(), 1500U);
}

TEST(NetlinkMessageTest, RefusesEveryCutAndWrongLength) {
    MessageBuilder builder(RTM_NEWLINK, 0, ifinfomsg{});
    builder.text(IFLA_IFNAME, "eth0");
    const auto bytes = std::move(builder).finish();
    for (std::size_t size = 1; size < bytes.size(); ++size) {
        EXPECT_THROW(messages(std::span(bytes).first(size)), Error) << size;
    }
    const std::span block = std::span(bytes).subspan(sizeof(nlmsghdr) + sizeof(ifinfomsg));
    for (std::size_t size = 1; size < 9; ++size) EXPECT_THROW(attributes(block.first(size)), Error) << size;
    auto wrong = bytes;
    wrong[sizeof(nlmsghdr) + sizeof(ifinfomsg)] = std::byte{2};
    EXPECT_THROW(messages(wrong)[0].attributes_after<ifinfomsg>(), Error);
}

/// Runs in a network namespace of its own; the machine's is not touched.
template <typename Body>
void in_new_netns(Body body) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    std::thread([&] {
        ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
        body();
    }).join();
}

TEST(NetlinkTest, MakesFindsAndDeletesLinks) {
    in_new_netns([] {
        Netlink netlink;
        NetlinkBatch make;
        make.create_bridge({.name = "br7", .mac = *Mac::parse("02:42:00:00:00:07"), .mtu = 1400});
        make.change_link("br7", {.up = true, .alias = "grua:test"});
        netlink.run(make);
        const auto bridge = netlink.link("br7").value();
        EXPECT_EQ(bridge.kind, "bridge");
        EXPECT_EQ(bridge.alias, "grua:test");
        EXPECT_EQ(bridge.mtu, 1400U);
        EXPECT_TRUE(bridge.up);

        NetlinkBatch address;
        address.add_address(bridge.index, *Ipv4Prefix::parse("10.7.0.1/24"));
        netlink.run(address);
        ASSERT_EQ(netlink.addresses().size(), 1U);
        EXPECT_EQ(netlink.addresses()[0].address.text(), "10.7.0.1/24");
        EXPECT_EQ(netlink.routes().at(0).destination.text(), "10.7.0.0/24");

        NetlinkBatch remove;
        remove.delete_link("br7");
        netlink.run(remove);
        EXPECT_FALSE(netlink.link("br7"));
        EXPECT_EQ(netlink.links().size(), 1U);
    });
}

TEST(NetlinkTest, AnErrorNamesTheObject) {
    in_new_netns([] {
        Netlink netlink;
        NetlinkBatch batch;
        batch.create_bridge({.name = "br7", .mac = *Mac::parse("02:42:00:00:00:07"), .mtu = 1500});
        batch.create_bridge({.name = "br7", .mac = *Mac::parse("02:42:00:00:00:07"), .mtu = 1500});
        try {
            netlink.run(batch);
            FAIL();
        } catch (const Error& error) {
            EXPECT_STREQ(error.what(), "create bridge br7: File exists");
            EXPECT_EQ(error.os_error(), EEXIST);
        }
        EXPECT_TRUE(netlink.link("br7"));  // The socket is still in step.
        EXPECT_THROW(batch.delete_link("a-name-of-16-cha"), Error);
    });
}

}  // namespace
}  // namespace grua::linux
