#include "network/probe.hpp"

#include "base/fd.hpp"
#include "linux/netns.hpp"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <string>
#include <thread>

namespace grua::network {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

Fd listening(std::uint32_t address, std::uint16_t port) {
    Fd out{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const int any = 1;  // A loopback that is down has no address.
    EXPECT_EQ(::setsockopt(out.get(), IPPROTO_IP, IP_FREEBIND, &any, sizeof any), 0);
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_port = htons(port);
    where.sin_addr.s_addr = htonl(address);
    EXPECT_EQ(::bind(out.get(), reinterpret_cast<sockaddr*>(&where), sizeof where), 0);
    EXPECT_EQ(::listen(out.get(), 1), 0);
    return out;
}

// A11: who made it may be gone, and its number another's.
TEST(Probe, a_namespace_is_asked_by_its_descriptor) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    Fd netns;
    Fd empty;
    std::vector<Fd> sockets;
    std::thread([&] {
        const linux::NetnsVisit visit(linux::NetnsVisit::New{});
        netns = linux::NetnsVisit::current();
        sockets.push_back(listening(INADDR_ANY, 8080));
        sockets.push_back(listening(INADDR_ANY, 443));
        sockets.push_back(listening(INADDR_LOOPBACK, 9000));
    }).join();
    std::thread([&] {
        const linux::NetnsVisit visit(linux::NetnsVisit::New{});
        empty = linux::NetnsVisit::current();
    }).join();
    EXPECT_THAT(listening_ports(netns.get()), ElementsAre(443, 8080));
    EXPECT_THAT(listening_ports(empty.get()), IsEmpty());
}

}  // namespace
}  // namespace grua::network
