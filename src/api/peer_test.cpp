#include "api/peer.hpp"

#include "base/fd.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace grua::api {
namespace {

TEST(Peer, OfAUnixSocketIsTheProcessThatConnected) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    const Fd one{ends[0]};
    const Fd other{ends[1]};
    const auto who = principal_of(one.get(), "unix:///x.sock");
    ASSERT_TRUE(who.peer);
    EXPECT_EQ(who.peer->pid, ::getpid());
    EXPECT_EQ(who.peer->uid, ::geteuid());
    EXPECT_EQ(who.peer->gid, ::getegid());
    EXPECT_EQ(who.text(), fmt::format("uid {} (pid {}) by unix:///x.sock", ::geteuid(), ::getpid()));
}

TEST(Peer, OfATcpSocketIsItsAddress) {
    const Fd listener{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(listener.get(), 1), 0);
    socklen_t size = sizeof address;
    ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    const Fd client{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const Fd accepted{::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)};
    ASSERT_TRUE(accepted);
    const auto who = principal_of(accepted.get(), "tcp://127.0.0.1:2375");
    EXPECT_FALSE(who.peer);
    EXPECT_TRUE(who.address.starts_with("127.0.0.1:")) << who.address;
}

}  // namespace
}  // namespace grua::api
