#include "network/networks.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/text.hpp"
#include "linux/netlink.hpp"
#include "linux/netns.hpp"
#include "linux/nftables.hpp"
#include "network/rules.hpp"
#include "store/database.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <optional>
#include <set>
#include <thread>

namespace grua::network {
namespace {

using linux::Ip;
using linux::IpPrefix;
using linux::Link;
using linux::LinkChange;
using linux::Netlink;
using linux::NetlinkBatch;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

Fd own_netns() { return Fd{::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)}; }

/// Runs in a thread that is in `netns`.
template <typename Body>
void inside(int netns, Body body) {
    std::thread([&] {
        ASSERT_EQ(::setns(netns, CLONE_NEWNET), 0);
        body();
    }).join();
}

template <typename Condition>
bool soon(Condition condition) {
    for (const auto end = Clock::now() + 5s; Clock::now() < end; std::this_thread::sleep_for(5ms)) {
        if (condition()) return true;
    }
    return condition();
}

std::size_t open_descriptors() {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator{}));
}

std::vector<Link> veths(Netlink& netlink) {
    std::vector<Link> out = netlink.links();
    std::erase_if(out, [](const Link& link) { return link.kind != "veth" || !link.name.starts_with("veth"); });
    return out;
}

Fd make_socket(int type) {
    Fd socket{::socket(AF_INET, type | SOCK_CLOEXEC, 0)};
    const timeval patience{.tv_sec = 3};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return socket;
}

sockaddr_in socket_address(const std::string& ip, std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    ::inet_pton(AF_INET, ip.c_str(), &address.sin_addr);
    return address;
}

Fd listen_in(int netns, int type, std::uint16_t port) {
    Fd socket;
    inside(netns, [&] {
        socket = make_socket(type);
        const auto address = socket_address("0.0.0.0", port);
        ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        if (type == SOCK_STREAM) ASSERT_EQ(::listen(socket.get(), 8), 0);
    });
    return socket;
}

/// Connects from `netns` and says hello; what the server saw as the client's address, or nothing where it did not arrive.
std::optional<std::string> hello(int netns, int server, int type, const std::string& ip, std::uint16_t port) {
    std::optional<std::string> seen;
    inside(netns, [&] {
        const Fd client = make_socket(type);
        const auto address = socket_address(ip, port);
        if (::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return;
        if (::send(client.get(), "hello", 5, MSG_NOSIGNAL) != 5) return;
        sockaddr_in peer{};
        socklen_t size = sizeof peer;
        Fd connection;
        int receiver = server;
        if (type == SOCK_STREAM) {
            connection = Fd{::accept4(server, reinterpret_cast<sockaddr*>(&peer), &size, SOCK_CLOEXEC)};
            receiver = connection.get();
        }
        char buffer[8];
        const ssize_t got = type == SOCK_STREAM ? ::recv(receiver, buffer, sizeof buffer, 0)
                                                : ::recvfrom(receiver, buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&peer), &size);
        if (got == 5) seen = Ip::v4(ntohl(peer.sin_addr.s_addr)).text();
    });
    return seen;
}

struct Attached {
    Fd netns;
    Endpoint endpoint;
};

/// A daemon's networks on a data root, with the default bridge as the network that is meant.
class Daemon : public Networks {
public:
    Daemon(const Options& options, store::Database& database, std::vector<Attachment> live = {}) : Networks(options, database) {
        recover(std::move(live));
    }
    Attached attach(const std::string& id, EndpointRequest request = {}) {
        if (request.network.empty()) request.network = "bridge";
        Sandbox made = Networks::attach({.container_id = id, .name = id, .endpoints = {request}});
        return {std::move(made.netns), made.endpoints.at(0)};
    }
    std::optional<Endpoint> endpoint(const std::string& id) const {
        const auto all = endpoints(id);
        return all.empty() ? std::nullopt : std::optional(all.front());
    }
};

/// Each test is on a host of its own: a new network namespace, which the machine's cannot notice.
class NetworksTest : public ::testing::Test {
protected:
    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "needs root";
        home_ = own_netns();
        ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
        host_ = own_netns();
        netlink_.emplace();
        NetlinkBatch up;
        up.change_link("lo", {.up = true});
        netlink_->run(up);
        directory_ = "/tmp/grua-network-test-" + random_hex(6);
        std::filesystem::create_directories(directory_);
        database_.emplace(directory_ + "/grua.db");
    }
    void TearDown() override {
        netlink_.reset();
        database_.reset();
        if (home_) ::setns(home_.get(), CLONE_NEWNET);
        std::filesystem::remove_all(directory_);
    }

    Options options() const { return {.bridge = "gruatest"}; }

    /// A host on the other side, 198.51.100.2 beside our 198.51.100.1, that knows no way to the containers.
    Fd outside_host() {
        Fd netns;
        std::thread([&] {
            ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
            netns = own_netns();
        }).join();
        NetlinkBatch pair;
        pair.create_veth({.name = "uplink", .peer_name = "far0", .peer_netns = netns.get(), .mtu = 1400});
        pair.change_link("uplink", {.up = true});
        netlink_->run(pair);
        NetlinkBatch address;
        address.add_address(netlink_->link("uplink")->index, *IpPrefix::parse("198.51.100.1/24"));
        netlink_->run(address);
        inside(netns.get(), [] {
            Netlink far;
            NetlinkBatch batch;
            batch.change_link("far0", {.up = true});
            batch.add_address(far.link("far0")->index, *IpPrefix::parse("198.51.100.2/24"));
            far.run(batch);
        });
        NetlinkBatch route;
        route.set_default_route(*Ip::parse("198.51.100.2"), netlink_->link("uplink")->index);
        netlink_->run(route);
        return netns;
    }

    Fd home_, host_;
    std::optional<Netlink> netlink_;
    std::string directory_;
    std::optional<store::Database> database_;
};

TEST_F(NetworksTest, TwoContainersReachEachOther) {
    Daemon networks(options(), *database_);
    const Attached a = networks.attach("a");
    const Attached b = networks.attach("b");
    EXPECT_EQ(a.endpoint.ip, "172.17.0.2");
    EXPECT_EQ(a.endpoint.gateway, "172.17.0.1");
    EXPECT_EQ(a.endpoint.prefix_length, 16U);
    EXPECT_EQ(a.endpoint.mac, "02:42:ac:11:00:02");
    EXPECT_EQ(b.endpoint.ip, "172.17.0.3");
    const Fd tcp = listen_in(b.netns.get(), SOCK_STREAM, 8080);
    const Fd udp = listen_in(b.netns.get(), SOCK_DGRAM, 8080);
    const auto start = Clock::now();
    EXPECT_EQ(hello(a.netns.get(), tcp.get(), SOCK_STREAM, b.endpoint.ip, 8080), a.endpoint.ip);
    EXPECT_LT(Clock::now() - start, 900ms) << "the first packet was lost";
    EXPECT_EQ(hello(a.netns.get(), udp.get(), SOCK_DGRAM, b.endpoint.ip, 8080), a.endpoint.ip);
    EXPECT_EQ(hello(host_.get(), tcp.get(), SOCK_STREAM, b.endpoint.ip, 8080), "172.17.0.1");
    EXPECT_EQ(hello(b.netns.get(), tcp.get(), SOCK_STREAM, "127.0.0.1", 8080), "127.0.0.1");
}

TEST_F(NetworksTest, OutsideIsReachedThroughMasqueradingAndCannotComeIn) {
    const Fd outside = outside_host();
    Daemon networks(options(), *database_);
    EXPECT_EQ(trim(read_file("/proc/sys/net/ipv4/ip_forward")), "1");
    EXPECT_EQ(networks.find("bridge").options.at("com.docker.network.driver.mtu"), "1400");
    const Attached a = networks.attach("a");
    const Fd tcp = listen_in(outside.get(), SOCK_STREAM, 80);
    const Fd udp = listen_in(outside.get(), SOCK_DGRAM, 53);
    EXPECT_EQ(hello(a.netns.get(), tcp.get(), SOCK_STREAM, "198.51.100.2", 80), "198.51.100.1");
    EXPECT_EQ(hello(a.netns.get(), udp.get(), SOCK_DGRAM, "198.51.100.2", 53), "198.51.100.1");

    // A neighbour that routes the containers' subnet to us is not let in.
    inside(outside.get(), [] {
        Netlink far;
        NetlinkBatch route;
        route.set_default_route(*Ip::parse("198.51.100.1"), far.link("far0")->index);
        far.run(route);
    });
    const Fd server = listen_in(a.netns.get(), SOCK_DGRAM, 5000);
    const timeval patience{.tv_usec = 200000};
    ::setsockopt(server.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    EXPECT_FALSE(hello(outside.get(), server.get(), SOCK_DGRAM, a.endpoint.ip, 5000));
    EXPECT_TRUE(hello(host_.get(), server.get(), SOCK_DGRAM, a.endpoint.ip, 5000));
}

TEST_F(NetworksTest, WithoutIccContainersAreApart) {
    Options given = options();
    given.icc = false;
    Daemon networks(given, *database_);
    const Attached a = networks.attach("a");
    const Attached b = networks.attach("b");
    const Fd udp = listen_in(b.netns.get(), SOCK_DGRAM, 8080);
    const timeval patience{.tv_usec = 200000};
    ::setsockopt(udp.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    EXPECT_FALSE(hello(a.netns.get(), udp.get(), SOCK_DGRAM, b.endpoint.ip, 8080));
    EXPECT_TRUE(hello(host_.get(), udp.get(), SOCK_DGRAM, b.endpoint.ip, 8080));
}

TEST_F(NetworksTest, NoIpv6WhereTheNetworkHasNone) {  // CVE-2024-32473, CVE-2020-13401
    if (::access("/proc/sys/net/ipv6", F_OK) != 0) GTEST_SKIP() << "this kernel has no IPv6";
    Daemon networks(options(), *database_);
    const Attached a = networks.attach("a");
    inside(a.netns.get(), [] {
        EXPECT_EQ(trim(read_file("/proc/sys/net/ipv6/conf/eth0/disable_ipv6")), "1");
        EXPECT_EQ(trim(read_file("/proc/sys/net/ipv6/conf/eth0/accept_ra")), "0");
        EXPECT_FALSE(read_file("/proc/thread-self/net/if_inet6").contains("eth0"));
    });
    EXPECT_EQ(trim(read_file("/proc/sys/net/ipv6/conf/gruatest/disable_ipv6")), "1");
    EXPECT_FALSE(read_file("/proc/thread-self/net/if_inet6").contains(" veth"));
}

TEST_F(NetworksTest, GivenAddressesAreCheckedAndUsed) {
    Options given = options();
    given.bip = "10.99.0.1/29";
    Daemon networks(given, *database_);
    const auto message = [&](const std::string& id, const EndpointRequest& wanted) -> std::string {
        try {
            networks.attach(id, wanted);
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    };
    const Attached a = networks.attach("a", {.mac = "02:00:00:00:00:0a", .ip = "10.99.0.5"});
    EXPECT_EQ(a.endpoint.ip, "10.99.0.5");
    inside(a.netns.get(), [&] {
        const auto eth0 = Netlink().addresses();
        EXPECT_TRUE(std::ranges::any_of(eth0, [](const auto& each) { return each.address.text() == "10.99.0.5/29"; }));
        EXPECT_TRUE(read_file("/proc/thread-self/net/route").contains("eth0\t00000000\t0100630A"));
    });
    const std::string context = "failed to set up container networking: ";
    EXPECT_EQ(message("b", {.ip = "10.99.0.5"}), context + "Address already in use");
    EXPECT_EQ(message("b", {.ip = "10.99.0.1"}), context + "Address already in use");
    EXPECT_TRUE(message("b", {.ip = "10.98.0.5"}).contains("no configured subnet"));
    EXPECT_TRUE(message("b", {.ip = "nonsense"}).contains("invalid IPv4 address"));
    EXPECT_TRUE(message("b", {.mac = "nonsense"}).contains("invalid MAC address"));
    EXPECT_TRUE(message("a", {}).contains("already exists in network bridge"));

    std::vector<Attached> all;
    for (int i = 0; i < 4; ++i) all.push_back(networks.attach(fmt::format("c{}", i)));
    EXPECT_TRUE(message("d", {}).contains("no available IPv4 addresses on this network's address pools: bridge ("));
    // The address of a container that has just ended is freed when it is needed.
    networks.release("c2");
    all.clear();
    EXPECT_EQ(networks.attach("d").endpoint.ip, "10.99.0.4");
    // Also for a container that runs and joins.
    networks.create({.name = "other", .ipam = {.config = {{.subnet = "10.98.0.0/24"}}}});
    const Attached e = networks.attach("e", {.network = "other"});
    networks.release("d");
    EXPECT_EQ(networks.connect("e", e.netns.get(), {.network = "bridge"}).ip, "10.99.0.4");
    networks.release("e");
    EXPECT_EQ(networks.attach("f").endpoint.ip, "10.99.0.4");
}

TEST_F(NetworksTest, TheEndTakesTheLinksOfThoseThatEndedJustBefore) {
    std::optional<Attached> kept;  // As the kernel does while a connection is being closed.
    {
        Daemon networks(options(), *database_);
        kept = networks.attach("kept");
        networks.release("kept");
    }
    EXPECT_TRUE(std::ranges::none_of(veths(*netlink_), [](const Link& link) { return link.alias.contains(":kept:"); }));
}

TEST_F(NetworksTest, NothingIsLeftAfterRelease) {
    const std::size_t descriptors = open_descriptors();
    {
        Options given = options();
        given.ready_sandboxes = 2;
        given.most_ready_sandboxes = 2;
        Daemon networks(given, *database_);
        for (int i = 0; i < 5; ++i) {
            const std::string id = fmt::format("c{}", i);
            const Attached sandbox = networks.attach(id);
            EXPECT_TRUE(networks.endpoint(id));
            EXPECT_EQ(networks.find("bridge").containers.size(), 1U);
            networks.release(id);
            networks.release(id);
            EXPECT_FALSE(networks.endpoint(id));
        }
        EXPECT_TRUE(soon([&] { return veths(*netlink_).size() == 2; })) << veths(*netlink_).size();

        // A namespace that somebody keeps does not keep the link.
        const Attached kept = networks.attach("kept");
        networks.release("kept");
        const auto attached = [&] {
            return std::ranges::any_of(veths(*netlink_), [](const Link& link) { return link.alias.contains(":kept:"); });
        };
        EXPECT_TRUE(attached());
        EXPECT_TRUE(soon([&] { return !attached(); }));
        networks.remove_all();
    }
    EXPECT_TRUE(soon([&] { return netlink_->links().size() == 1; }));
    EXPECT_EQ(linux::rule_count(table_name("gruatest")), 0U);
    EXPECT_EQ(open_descriptors(), descriptors);
}

TEST_F(NetworksTest, APoolThatHasGrownIsFullAgainSoon) {
    Options given = options();
    given.ready_sandboxes = 1;
    given.most_ready_sandboxes = 8;
    Daemon networks(given, *database_);
    const auto ready = [&] { return std::ranges::count(veths(*netlink_), std::string{}, &Link::alias); };
    std::vector<Attached> all;
    for (int i = 0; i < 12; ++i) all.push_back(networks.attach(fmt::format("c{}", i)));
    EXPECT_TRUE(soon([&] { return ready() == 8; })) << ready();
    all.push_back(networks.attach("next"));
    EXPECT_TRUE(soon([&] { return ready() == 8; })) << ready();
}

TEST_F(NetworksTest, TheNextSandboxesJoinACrowdedBridgeAhead) {
    constexpr std::size_t most_ports = 1023;
    Options given = options();
    given.ready_sandboxes = 1;
    given.most_ready_sandboxes = 1;
    given.bip = "10.99.0.1/16";
    Daemon networks(given, *database_);
    const std::string other = networks.create({.name = "other", .ipam = {.config = {{.subnet = "10.98.0.0/24"}}}}).id;
    const int bridge = netlink_->link("gruatest")->index;
    const auto waiting_ports = [&] {
        return std::ranges::count_if(veths(*netlink_), [&](const Link& link) { return link.master == bridge && link.alias.empty(); });
    };
    std::vector<Attached> all;
    for (int i = 0; i < 32; ++i) all.push_back(networks.attach(fmt::format("c{}", i)));
    // The one that was made before it was crowded is taken first.
    const auto is_full = [&] { return std::ranges::count(veths(*netlink_), std::string{}, &Link::alias) == 1; };
    EXPECT_TRUE(soon(is_full));
    EXPECT_EQ(waiting_ports(), 0);
    all.push_back(networks.attach("crowded"));
    EXPECT_TRUE(soon([&] { return waiting_ports() == 1; }));
    all.push_back(networks.attach("more"));
    EXPECT_TRUE(soon([&] { return waiting_ports() == 1; }));

    // Those are no obstacle for another network.
    all.push_back(networks.attach("elsewhere", {.network = "other"}));
    const auto links = veths(*netlink_);
    const auto elsewhere = std::ranges::find(links, fmt::format("grua:gruatest:elsewhere:{}", other), &Link::alias);
    ASSERT_NE(elsewhere, links.end());
    EXPECT_EQ(elsewhere->master, netlink_->link("br-" + other.substr(0, 12))->index);
    all.push_back(networks.attach("again"));
    EXPECT_TRUE(soon([&] { return waiting_ports() > 0; }));

    // Nor for who joins this one when it is full.
    const auto ports = [&] { return static_cast<std::size_t>(std::ranges::count(netlink_->links(), bridge, &Link::master)); };
    linux::NetlinkBatch fill;
    const Fd here = linux::NetnsVisit::current();
    for (std::size_t i = ports(); i < most_ports; ++i) {
        const std::string name = fmt::format("fill{}", i);
        fill.create_veth({.name = name, .peer_name = name + "p", .peer_netns = here.get(), .mtu = 1500});
        fill.change_link(name, {.master = bridge});
    }
    netlink_->run(fill);
    ASSERT_EQ(ports(), most_ports);
    networks.connect("elsewhere", all[34].netns.get(), {.network = "bridge"});
    EXPECT_EQ(waiting_ports(), 0);
    EXPECT_EQ(networks.find("bridge").containers.size(), 36U);
}

TEST_F(NetworksTest, AKilledDaemonLeavesWhatRunsAndTheNextFindsIt) {
    // The daemon attaches two containers, whose namespaces this process keeps as if it were the first one's program.
    int pair[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    const Fd ours{pair[0]};
    Fd theirs{pair[1]};
    const pid_t daemon = ::fork();
    if (daemon == 0) {
        Daemon networks(options(), *database_);
        const Attached live = networks.attach("live");
        const Attached gone = networks.attach("gone");
        const std::string text =
            fmt::format("{} {} {} {}\n", networks.find("bridge").id, live.endpoint.ip, live.netns.get(), gone.netns.get());
        write_all(theirs.get(), text, "socket");
        ::pause();
        ::_exit(0);
    }
    theirs = Fd();
    char buffer[256];
    const ssize_t got = ::read(ours.get(), buffer, sizeof buffer);
    ASSERT_GT(got, 0);
    const auto parts = split(trim(std::string_view(buffer, static_cast<std::size_t>(got))), ' ');
    ASSERT_EQ(parts.size(), 4U);
    const Fd live{::open(fmt::format("/proc/{}/fd/{}", daemon, parts[2]).c_str(), O_RDONLY | O_CLOEXEC)};
    const Fd orphan{::open(fmt::format("/proc/{}/fd/{}", daemon, parts[3]).c_str(), O_RDONLY | O_CLOEXEC)};
    ASSERT_EQ(::kill(daemon, SIGKILL), 0);
    ASSERT_EQ(::waitpid(daemon, nullptr, 0), daemon);
    ASSERT_TRUE(soon([&] { return veths(*netlink_).size() == 2; })) << "the pool's sandboxes outlive the daemon";

    Options given = options();
    given.ready_sandboxes = 0;
    const Endpoint endpoint{.endpoint_id = random_id(),
                            .network_id = parts[0],
                            .ip = parts[1],
                            .prefix_length = 16,
                            .gateway = "172.17.0.1",
                            .mac = linux::mac_of(*Ip::parse(parts[1])).text()};
    std::vector<Attachment> running(1);
    running[0].request.container_id = "live";
    running[0].endpoints = {endpoint};
    Daemon networks(given, *database_, std::move(running));
    EXPECT_EQ(networks.find("bridge").id, parts[0]);
    EXPECT_TRUE(soon([&] { return veths(*netlink_).size() == 1; })) << "the orphan's link was not swept";
    EXPECT_EQ(veths(*netlink_).at(0).alias, "grua:gruatest:live:" + parts[0]);
    EXPECT_EQ(networks.endpoint("live")->ip, parts[1]);

    const Attached next = networks.attach("next");
    EXPECT_NE(next.endpoint.ip, parts[1]);
    const Fd tcp = listen_in(live.get(), SOCK_STREAM, 8080);
    EXPECT_EQ(hello(next.netns.get(), tcp.get(), SOCK_STREAM, parts[1], 8080), next.endpoint.ip);
    networks.release("live");
    EXPECT_TRUE(soon([&] { return veths(*netlink_).size() == 1; }));
}

TEST_F(NetworksTest, RulesThatSomebodyFlushedAreWrittenAgain) {
    Daemon networks(options(), *database_);
    const std::size_t rules = linux::rule_count(table_name("gruatest"));
    ASSERT_GT(rules, 0U);
    for (const char* command : {"flush ruleset", "flush chain inet grua_gruatest forward", "delete table inet grua_gruatest"}) {
        linux::apply_ruleset(command, "flush");
        EXPECT_TRUE(soon([&] { return linux::rule_count(table_name("gruatest")) == rules; })) << command;
    }
}

TEST_F(NetworksTest, RulesAreWrittenByAProgramWithManyDescriptors) {
    // libnftables waits by select().
    const rlimit many{.rlim_cur = 4096, .rlim_max = 4096};
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &many), 0);
    {
        std::vector<Fd> held;
        while (held.empty() || held.back().get() < 1100) held.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        linux::apply_ruleset("table inet many {}", "many");
        EXPECT_THROW(linux::apply_ruleset("delete table inet none", "none"), Error);
        EXPECT_GE(::fcntl(held.back().get(), F_GETFD), 0);
    }
    ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST_F(NetworksTest, AnotherDaemonStandsBesideAndIsKeptApart) {
    Options second = options();
    second.bridge = "gruatest2";
    Daemon networks(options(), *database_);
    store::Database second_database(directory_ + "/second.db");
    Daemon other(second, second_database);
    const Attached a = networks.attach("a");
    const Attached b = other.attach("b");
    EXPECT_EQ(b.endpoint.ip, "172.18.0.2");
    const Fd udp = listen_in(b.netns.get(), SOCK_DGRAM, 8080);
    const timeval patience{.tv_usec = 200000};
    ::setsockopt(udp.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    EXPECT_FALSE(hello(a.netns.get(), udp.get(), SOCK_DGRAM, b.endpoint.ip, 8080));
    EXPECT_TRUE(hello(host_.get(), udp.get(), SOCK_DGRAM, b.endpoint.ip, 8080));
}

TEST_F(NetworksTest, ABridgeOfSomebodyElseIsAdoptedNotChanged) {
    NetlinkBatch make;
    make.create_bridge({.name = "theirs0", .mac = *linux::Mac::parse("02:42:00:00:00:07"), .mtu = 1300});
    make.change_link("theirs0", {.mtu = 1301});  // Set by a change it stays, whatever ports come and go.
    netlink_->run(make);
    NetlinkBatch address;
    address.add_address(netlink_->link("theirs0")->index, *IpPrefix::parse("10.50.0.1/24"));
    netlink_->run(address);
    Options given = options();
    given.bridge = "theirs0";
    {
        Daemon networks(given, *database_);
        EXPECT_EQ(networks.gateway(), "10.50.0.1");
        EXPECT_EQ(networks.find("bridge").ipam.config.at(0).subnet, "10.50.0.0/24");
        EXPECT_EQ(networks.attach("a").endpoint.ip, "10.50.0.2");
        networks.release("a");
        networks.remove_all();
    }
    EXPECT_EQ(netlink_->link("theirs0")->mtu, 1301U);

    given.bridge = "lo";
    EXPECT_THROW((Networks{given, *database_}), Error);
    given.bridge = "a\" accept";
    EXPECT_THROW((Networks{given, *database_}), Error);
}

TEST_F(NetworksTest, ListsDockersThreeNetworks) {
    Daemon networks(options(), *database_);
    ASSERT_EQ(networks.list().size(), 3U);
    EXPECT_EQ(networks.find("bridge").driver, "bridge");
    EXPECT_EQ(networks.find("host").driver, "host");
    EXPECT_EQ(networks.find("none").driver, "null");
    EXPECT_EQ(networks.find(networks.find("host").id).name, "host");
    EXPECT_EQ(networks.find(networks.find("bridge").id.substr(0, 12)).name, "bridge");
    EXPECT_THROW(networks.find("missing"), Error);
    EXPECT_THROW(networks.find(""), Error);
}

TEST_F(NetworksTest, AttachesFromManyThreadsAtOnce) {
    Daemon networks(options(), *database_);
    constexpr int threads = 4;
    constexpr int each = 25;
    std::vector<std::vector<Attached>> all(threads);
    std::vector<std::vector<double>> times(threads);
    {
        std::vector<std::jthread> running;
        for (int t = 0; t < threads; ++t) {
            running.emplace_back([&, t] {
                for (int i = 0; i < each; ++i) {
                    const auto start = Clock::now();
                    all[static_cast<std::size_t>(t)].push_back(networks.attach(fmt::format("c{}-{}", t, i)));
                    times[static_cast<std::size_t>(t)].push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
                }
            });
        }
    }
    std::set<std::string> addresses;
    for (const auto& some : all) {
        for (const Attached& sandbox : some) addresses.insert(sandbox.endpoint.ip);
    }
    EXPECT_EQ(addresses.size(), std::size_t{threads} * each);
    std::vector<double> sorted;
    for (const auto& some : times) sorted.insert(sorted.end(), some.begin(), some.end());
    std::ranges::sort(sorted);
    fmt::print("100 attaches by 4 threads at once, us: median {:.0f}, p90 {:.0f}, longest {:.0f}\n", sorted[50], sorted[90], sorted[99]);
}

TEST_F(NetworksTest, PrintsWhatAStartPays) {
    Daemon networks(options(), *database_);
    std::vector<double> attach, release;
    for (int i = 0; i < 100; ++i) {
        ASSERT_TRUE(soon([&] { return std::ranges::count(veths(*netlink_), std::string{}, &Link::alias) == 4; }));
        const std::string id = fmt::format("c{}", i);
        auto start = Clock::now();
        const auto lap = [&] {
            const auto now = Clock::now();
            return std::chrono::duration<double, std::micro>(now - std::exchange(start, now)).count();
        };
        const Attached sandbox = networks.attach(id);
        attach.push_back(lap());
        networks.release(id);
        release.push_back(lap());
    }
    std::ranges::sort(attach);
    std::ranges::sort(release);
    fmt::print("one after the other, us: attach median {:.0f}, p90 {:.0f}; release median {:.1f}\n", attach[50], attach[90], release[50]);
}

}  // namespace
}  // namespace grua::network
