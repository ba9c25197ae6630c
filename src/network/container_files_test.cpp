#include "network/container_files.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>

namespace grua::network {
namespace {

constexpr const char* localhost_lines =
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

TEST(HostsTextTest, NamesTheContainerAfterTheExtraHosts) {
    const std::string text = hosts_text({.hostname = "web",
                                         .addresses = {"172.17.0.2"},
                                         .extra_hosts = {"db:10.0.0.7", "six=[2001:db8::1]", "host.docker.internal:host-gateway"},
                                         .host_gateways = {"172.17.0.1", "fd00::1"}});
    EXPECT_EQ(text,
              std::string(localhost_lines) +
                  "10.0.0.7\tdb\n2001:db8::1\tsix\n172.17.0.1\thost.docker.internal\nfd00::1\thost.docker.internal\n172.17.0.2\tweb\n");
    EXPECT_EQ(hosts_text({.hostname = "web", .domainname = "example.org", .addresses = {"172.17.0.2"}}),
              std::string(localhost_lines) + "172.17.0.2\tweb.example.org web\n");
    EXPECT_EQ(hosts_text({.hostname = "web", .host_text = "1.2.3.4 x\n"}), "1.2.3.4 x\n");
}

TEST(HostsTextTest, RefusesBadExtraHosts) {
    for (const char* bad : {"db", ":1.2.3.4", "db:1.2.3", "db:", "a b:1.2.3.4", "db:1.2.3.4\n5.6.7.8 evil", "db\n:1.2.3.4"}) {
        EXPECT_THROW(hosts_text({.extra_hosts = {bad}}), Error) << bad;
    }
    EXPECT_THROW(hosts_text({.extra_hosts = {"db:host-gateway"}}), Error);
}

TEST(ResolvConfTest, LeavesOutWhatAContainerCannotReach) {
    const char* host =
        "# comment\nnameserver 127.0.0.1\nnameserver 10.0.0.53\nnameserver ::1\nnameserver fe80::1%eth0\nnameserver nonsense\n"
        "domain one.example\nsearch two.example three.example\noptions ndots:2\noptions edns0\nsortlist 10.0.0.0\n";
    EXPECT_EQ(resolv_conf_text(host, {}),
              "nameserver 10.0.0.53\nsearch two.example three.example\noptions ndots:2 edns0\nsortlist 10.0.0.0\n");
    EXPECT_EQ(resolv_conf_text("nameserver fe80::1%eth0\n", {.ipv6 = true}), "nameserver fe80::1%eth0\n");
    EXPECT_EQ(resolv_conf_text(host, {.keep_loopback = true}), host);
}

TEST(ResolvConfTest, OptionsReplaceTheHosts) {
    const char* host = "nameserver 10.0.0.53\nsearch one.example\noptions ndots:2\n";
    EXPECT_EQ(resolv_conf_text(host, {.nameservers = {"127.0.0.1", "1.1.1.1"}, .search = {"x.example"}, .options = {"ndots:5"}}),
              "nameserver 127.0.0.1\nnameserver 1.1.1.1\nsearch x.example\noptions ndots:5\n");
    EXPECT_EQ(resolv_conf_text(host, {.search = {"."}}), "nameserver 10.0.0.53\noptions ndots:2\n");
    EXPECT_THROW(resolv_conf_text(host, {.nameservers = {"dns.example"}}), Error);
}

TEST(ResolvConfTest, SaysWhenItFallsBackToPublicServers) {
    const std::string text = resolv_conf_text("nameserver 127.0.0.1\n", {});
    EXPECT_TRUE(text.starts_with("nameserver 8.8.8.8\nnameserver 8.8.4.4\n# ")) << text;
}

}  // namespace
}  // namespace grua::network
