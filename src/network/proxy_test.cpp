#include "network/proxy.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <algorithm>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace grua::network {
namespace {

std::uint16_t port_of(int socket) {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    EXPECT_EQ(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size), 0);
    return ntohs(address.sin_port);
}

Fd listening(int flags) {
    Fd out{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0)};
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(out.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(out.get(), 100), 0);
    return out;
}

Fd connected(std::uint16_t port) {
    Fd out{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(out.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return out;
}

std::string read_to_end(int socket) {
    std::string out;
    std::string piece(1 << 16, '\0');
    for (ssize_t count = 1; (count = ::read(socket, piece.data(), piece.size())) > 0;)
        out.append(piece, 0, static_cast<std::size_t>(count));
    return out;
}

class ProxyTest : public testing::Test {
protected:
    Fd server_ = listening(0);
    Proxy proxy_;

    std::pair<std::uint64_t, std::uint16_t> add(std::uint16_t target) {
        Fd listener = listening(SOCK_NONBLOCK);
        const std::uint16_t port = port_of(listener.get());
        return {proxy_.add(std::move(listener), {.address = linux::Ip::v4(INADDR_LOOPBACK), .port = target}), port};
    }
    Fd accepted() { return Fd{::accept4(server_.get(), nullptr, nullptr, SOCK_CLOEXEC)}; }
};

TEST_F(ProxyTest, moves_both_ways_and_passes_the_end_of_each) {
    const auto [id, port] = add(port_of(server_.get()));
    const Fd client = connected(port);
    const Fd server = accepted();
    const std::string question(20'000'000, 'q');
    const std::string answer(10'000'000, 'a');
    std::jthread asking([&] {
        std::string_view left = question;
        while (!left.empty()) {
            const ssize_t count = ::send(client.get(), left.data(), left.size(), MSG_NOSIGNAL);
            ASSERT_GT(count, 0);
            left.remove_prefix(static_cast<std::size_t>(count));
        }
        ::shutdown(client.get(), SHUT_WR);
    });
    EXPECT_EQ(read_to_end(server.get()), question);
    asking.join();
    // The other direction is still open.
    std::jthread answering([&] {
        std::string_view left = answer;
        while (!left.empty()) left.remove_prefix(static_cast<std::size_t>(::send(server.get(), left.data(), left.size(), MSG_NOSIGNAL)));
        ::shutdown(server.get(), SHUT_WR);
    });
    EXPECT_EQ(read_to_end(client.get()), answer);
}

TEST_F(ProxyTest, who_is_not_there_refuses) {
    std::uint16_t closed = 0;
    {
        const Fd gone = listening(0);
        closed = port_of(gone.get());
    }
    const auto [id, port] = add(closed);
    const Fd client = connected(port);
    char byte = 0;
    EXPECT_EQ(::read(client.get(), &byte, 1), -1);
    EXPECT_EQ(errno, ECONNRESET);
}

TEST_F(ProxyTest, many_at_once_and_removal) {
    const auto [id, port] = add(port_of(server_.get()));
    std::vector<Fd> clients;
    std::vector<Fd> servers;
    for (int i = 0; i < 200; ++i) {
        clients.push_back(connected(port));
        servers.push_back(accepted());
    }
    proxy_.remove(id);
    // What was there goes on.
    for (std::size_t i = 0; i < servers.size(); ++i) {
        const std::string text = "to " + std::to_string(i);
        EXPECT_EQ(::send(servers[i].get(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
    }
    std::set<std::string> got;
    for (const Fd& each : clients) {
        std::string text(20, '\0');
        text.resize(static_cast<std::size_t>(::read(each.get(), text.data(), text.size())));
        got.insert(text);
    }
    EXPECT_EQ(got.size(), 200U);
    Fd late{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(late.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), -1);
}

Fd datagrams(std::uint16_t to) {
    Fd out{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(to);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval patience{.tv_sec = 5, .tv_usec = 0};
    ::setsockopt(out.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    const auto take = to == 0 ? ::bind : ::connect;
    EXPECT_EQ(take(out.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return out;
}

std::string received(int socket) {
    std::string out(70000, '\0');
    const ssize_t size = ::recv(socket, out.data(), out.size(), 0);
    EXPECT_GE(size, 0);
    out.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
    return out;
}

TEST_F(ProxyTest, datagrams_go_to_and_fro_for_each_client) {
    const Fd server = datagrams(0);
    Fd listener = datagrams(0);
    const std::uint16_t port = port_of(listener.get());
    const std::uint64_t id = proxy_.add(std::move(listener), {.address = linux::Ip::v4(INADDR_LOOPBACK), .port = port_of(server.get())});
    std::vector<Fd> clients;
    for (int i = 0; i < 20; ++i) clients.push_back(datagrams(port));
    // Of every size that there is, the empty one too.
    for (std::size_t i = 0; i < clients.size(); ++i) {
        const std::string question(i * 3400, static_cast<char>('a' + i));
        ASSERT_EQ(::send(clients[i].get(), question.data(), question.size(), 0), static_cast<ssize_t>(question.size()));
        std::string text(70000, '\0');
        sockaddr_storage from{};
        socklen_t size = sizeof from;
        const ssize_t got = ::recvfrom(server.get(), text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&from), &size);
        ASSERT_EQ(got, static_cast<ssize_t>(question.size()));
        text.resize(static_cast<std::size_t>(got));
        EXPECT_EQ(text, question);
        text += "!";
        ASSERT_GT(::sendto(server.get(), text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&from), size), 0);
        EXPECT_EQ(received(clients[i].get()), text);
    }
    proxy_.remove(id);
    EXPECT_EQ(::send(clients[0].get(), "x", 1, 0), 1);
    char byte = 0;
    EXPECT_EQ(::recv(clients[0].get(), &byte, 1, 0), -1);
    EXPECT_EQ(errno, ECONNREFUSED);
}

}  // namespace
}  // namespace grua::network
