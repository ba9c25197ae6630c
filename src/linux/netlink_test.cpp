#include "linux/netlink.hpp"
#include "linux/netlink_message.hpp"
#include "linux/netlink_socket.hpp"

#include <gtest/gtest.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <thread>

namespace grua::linux {
namespace {

TEST(IpTest, ParsesBothFamiliesStrictly) {
    EXPECT_EQ(Ip::parse("172.17.0.2")->value, 0xac110002U);
    EXPECT_EQ(Ip::v4(0xac110002U).text(), "172.17.0.2");
    EXPECT_EQ(Ip::parse("fd00:0099:0::1")->text(), "fd00:99::1");
    EXPECT_EQ(Ip::from_bytes(Ip::parse("fd00:99::1")->bytes()), *Ip::parse("fd00:99::1"));
    for (const char* bad : {"", "1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.4 ", "fe80::1%eth0", "a.b.c.d", "[::1]"})
        EXPECT_FALSE(Ip::parse(bad)) << bad;
    EXPECT_FALSE(Ip::parse(std::string_view("1.2.3.4\0", 8)));
}

TEST(IpPrefixTest, KnowsItsSubnet) {
    const auto prefix = IpPrefix::parse("172.17.5.1/16").value();
    EXPECT_EQ(prefix.subnet().text(), "172.17.0.0/16");
    EXPECT_EQ(prefix.last().text(), "172.17.255.255");
    EXPECT_TRUE(prefix.contains(*Ip::parse("172.17.9.9")));
    EXPECT_FALSE(prefix.contains(*Ip::parse("172.18.0.0")));
    EXPECT_TRUE(prefix.overlaps(*IpPrefix::parse("172.16.0.0/12")));
    EXPECT_FALSE(prefix.overlaps(*IpPrefix::parse("10.0.0.0/8")));
    EXPECT_TRUE(prefix.overlaps(*IpPrefix::parse("0.0.0.0/0")));
    EXPECT_FALSE(prefix.overlaps(*IpPrefix::parse("::/0")));
    const auto six = IpPrefix::parse("fd00:99::7/64").value();
    EXPECT_EQ(six.subnet().text(), "fd00:99::/64");
    EXPECT_EQ(six.last().text(), "fd00:99::ffff:ffff:ffff:ffff");
    EXPECT_EQ(IpPrefix::parse("::/0")->last().text(), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    for (const char* bad : {"1.2.3.4", "1.2.3.4/33", "::1/129", "1.2.3.4/", "1.2.3.4/-1", "/8"}) EXPECT_FALSE(IpPrefix::parse(bad)) << bad;
}

TEST(MacTest, MakesALinkLocalAddressAsTheKernelDoes) {
    EXPECT_EQ(link_local_of(*Mac::parse("02:42:ac:11:00:02")).text(), "fe80::42:acff:fe11:2");
}

TEST(MacTest, RefusesGroupAddresses) {
    EXPECT_EQ(Mac::parse("02:42:AC:11:00:02")->text(), "02:42:ac:11:00:02");
    EXPECT_EQ(mac_of(*Ip::parse("172.17.0.2")).text(), "02:42:ac:11:00:02");
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
        address.add_address(bridge.index, *IpPrefix::parse("10.7.0.1/24"));
        address.add_address(bridge.index, *IpPrefix::parse("fd00:99::1/64"));
        netlink.run(address);
        const auto has = [](const auto& all, const char* text) {
            return std::ranges::any_of(all, [&](const auto& each) { return each.text() == text; });
        };
        std::vector<IpPrefix> addresses;
        for (const auto& each : netlink.addresses()) addresses.push_back(each.address);
        EXPECT_TRUE(has(addresses, "10.7.0.1/24"));
        EXPECT_TRUE(has(addresses, "fd00:99::1/64"));
        std::vector<IpPrefix> routes;
        for (const auto& each : netlink.routes()) routes.push_back(each.destination);
        EXPECT_TRUE(has(routes, "10.7.0.0/24"));
        EXPECT_TRUE(has(routes, "fd00:99::/64"));

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

// F: a list that a change overtakes is taken again.
TEST(NetlinkTest, ListsWhatChangesAllTheTime) {
    in_new_netns([] {
        Netlink netlink;
        NetlinkBatch many;
        // More than one of the kernel's datagrams, so that changes come between two of them.
        constexpr int count = 60;
        for (int i = 0; i < count; ++i) many.create_link(fmt::format("stays{}", i), "bridge");
        netlink.run(many);
        std::atomic<bool> ended = false;
        std::jthread changing([&] {
            Netlink other;
            while (!ended) {
                NetlinkBatch make;
                make.create_link("comes", "bridge");
                make.delete_link("comes");
                other.run(make);
            }
        });
        for (int i = 0; i < 40; ++i) {
            const std::vector<Link> links = netlink.links();
            const auto stays = [](const Link& link) { return link.name.starts_with("stays"); };
            EXPECT_EQ(std::ranges::count_if(links, stays), count);
        }
        ended = true;
    });
}

TEST(NetlinkSocketTest, BelievesTheKernelOnly) {
    in_new_netns([] {
        NetlinkSocket socket(NETLINK_ROUTE);
        socket.set_option(NETLINK_ADD_MEMBERSHIP, RTNLGRP_LINK);
        sockaddr_nl address{};
        socklen_t size = sizeof address;
        ASSERT_EQ(::getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&address), &size), 0);
        const Fd other{::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)};
        const auto lie = [&] {
            const auto bytes = built(RTM_DELLINK, 0, ifinfomsg{}, [](MessageBuilder&) {});
            ASSERT_EQ(::sendto(other.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<const sockaddr*>(&address), size),
                      static_cast<ssize_t>(bytes.size()));
        };
        lie();
        NetlinkBatch make;
        make.create_bridge({.name = "br7", .mac = *Mac::parse("02:42:00:00:00:07"), .mtu = 1500});
        Netlink().run(make);
        lie();
        std::vector<std::uint16_t> types;
        EXPECT_FALSE(socket.read_waiting("watch", [&](const Message& message) { types.push_back(message.type); }));
        ASSERT_FALSE(types.empty());
        EXPECT_EQ(std::ranges::count(types, RTM_NEWLINK), static_cast<std::ptrdiff_t>(types.size()));
    });
}

TEST(NetlinkSocketTest, SaysWhatWasLostAndWhatIsRefused) {
    in_new_netns([] {
        NetlinkSocket socket(NETLINK_ROUTE);
        socket.set_option(NETLINK_ADD_MEMBERSHIP, RTNLGRP_LINK);
        const int small = 1;
        ASSERT_EQ(::setsockopt(socket.fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
        NetlinkBatch make;
        for (int i = 0; i < 20; ++i)
            make.create_bridge({.name = fmt::format("br{}", i), .mac = *Mac::parse("02:42:00:00:00:07"), .mtu = 1500});
        Netlink().run(make);
        EXPECT_TRUE(socket.read_waiting("watch", [](const Message&) {}));
        try {
            socket.ask(built(RTM_GETLINK, NLM_F_ACK, ifinfomsg{.ifi_index = 999}, [](MessageBuilder&) {}), "look", [](const Message&) {});
            FAIL();
        } catch (const Error& error) {
            EXPECT_STREQ(error.what(), "look: No such device");
            EXPECT_EQ(error.os_error(), ENODEV);
        }
    });
}

}  // namespace
}  // namespace grua::linux
