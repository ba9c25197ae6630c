#include "network/upstreams.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <cstdio>
#include <fstream>

namespace grua::network {
namespace {

TEST(UpstreamsTest, TakesAddressesWithAndWithoutPort) {
    const auto port_of = [](const std::string& text) {
        const auto servers = parse_servers({text});
        if (servers.size() != 1) return -1;
        return int{ntohs(servers[0].storage.ss_family == AF_INET ? reinterpret_cast<const sockaddr_in&>(servers[0].storage).sin_port
                                                                 : reinterpret_cast<const sockaddr_in6&>(servers[0].storage).sin6_port)};
    };
    EXPECT_EQ(port_of("198.51.100.1"), 53);
    EXPECT_EQ(port_of("198.51.100.1:5353"), 5353);
    EXPECT_EQ(port_of("fd00:99::1"), 53);
    EXPECT_EQ(port_of("[fd00:99::1]:54"), 54);
    EXPECT_EQ(port_of("[fd00:99::1]"), 53);
    for (const char* bad :
         {"", "name", "198.51.100.1:", "198.51.100.1:0", "198.51.100.1:65536", "198.51.100.1:x", "[fd00:99::1", "[fd00:99::1]:70000"})
        EXPECT_EQ(port_of(bad), -1) << bad;
}

TEST(UpstreamsTest, ReadsAgainWhatHasChanged) {
    const std::string path = testing::TempDir() + "upstreams-" + std::to_string(::getpid());
    const auto write = [&](const std::string& text) {
        std::ofstream(path + "~") << text;
        ASSERT_EQ(std::rename((path + "~").c_str(), path.c_str()), 0);
    };
    int reads = 0;
    HostServers servers({.host_resolv_conf =
                             [&] {
                                 ++reads;
                                 std::ifstream file(path);
                                 return std::string(std::istreambuf_iterator<char>(file), {});
                             },
                         .watched = {path}});
    write("nameserver 198.51.100.1\n");
    auto time = HostServers::Clock::now();
    EXPECT_EQ(servers.get(time).size(), 1U);
    write("nameserver 198.51.100.1\nnameserver 198.51.100.2\n");
    EXPECT_EQ(servers.get(time += std::chrono::milliseconds(400)).size(), 1U) << "looked at twice a second";
    EXPECT_EQ(servers.get(time += std::chrono::milliseconds(200)).size(), 2U);
    EXPECT_EQ(servers.get(time += std::chrono::milliseconds(600)).size(), 2U);
    EXPECT_EQ(reads, 2);
    std::remove(path.c_str());
}

}  // namespace
}  // namespace grua::network
