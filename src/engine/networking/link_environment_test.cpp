#include "engine/networking/networking.hpp"

#include <gtest/gtest.h>
#include <algorithm>

namespace grua::engine {
namespace {

// G13
TEST(LinkEnvironment, IsDockers) {
    ContainerRecord other;
    other.name = "redis";
    other.config.exposed_ports = {{"6379/tcp", {}}, {"53/udp", {}}, {"53/tcp", {}}};
    other.config.env = {"PATH=/bin", "HOME=/", "MODE=fast", "ALONE"};
    EXPECT_EQ(link_environment("web", "my-db", other, "10.99.7.2"),
              (StringList{"MY_DB_PORT=tcp://10.99.7.2:53", "MY_DB_PORT_53_TCP=tcp://10.99.7.2:53", "MY_DB_PORT_53_TCP_ADDR=10.99.7.2",
                          "MY_DB_PORT_53_TCP_PORT=53", "MY_DB_PORT_53_TCP_PROTO=tcp", "MY_DB_PORT_53_UDP=udp://10.99.7.2:53",
                          "MY_DB_PORT_53_UDP_ADDR=10.99.7.2", "MY_DB_PORT_53_UDP_PORT=53", "MY_DB_PORT_53_UDP_PROTO=udp",
                          "MY_DB_PORT_6379_TCP=tcp://10.99.7.2:6379", "MY_DB_PORT_6379_TCP_ADDR=10.99.7.2", "MY_DB_PORT_6379_TCP_PORT=6379",
                          "MY_DB_PORT_6379_TCP_PROTO=tcp", "MY_DB_NAME=/web/my-db", "MY_DB_ENV_MODE=fast"}));
}

TEST(LinkEnvironment, NamesTheEndsOfARange) {
    ContainerRecord other;
    other.config.exposed_ports = {{"80/tcp", {}}, {"81/tcp", {}}, {"82/tcp", {}}, {"90/tcp", {}}};
    const StringList out = link_environment("web", "db", other, "10.99.7.2");
    for (const char* each : {"DB_PORT_80_TCP_START=tcp://10.99.7.2:80", "DB_PORT_80_TCP_PORT_START=80",
                             "DB_PORT_80_TCP_END=tcp://10.99.7.2:82", "DB_PORT_80_TCP_PORT_END=82", "DB_PORT_90_TCP_PORT=90"})
        EXPECT_NE(std::ranges::find(out, each), out.end()) << each;
    EXPECT_EQ(std::ranges::count_if(out, [](const std::string& each) { return each.contains("_START="); }), 2);
}

TEST(LinkEnvironment, OfOneWithoutPortsThereIsAName) {
    EXPECT_EQ(link_environment("web", "db", {}, "10.99.7.2"), (StringList{"DB_NAME=/web/db"}));
}

}  // namespace
}  // namespace grua::engine
