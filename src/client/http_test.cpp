#include "client/client.hpp"

#include "base/files.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <array>
#include <boost/json.hpp>
#include <filesystem>
#include <thread>

namespace grua::client {
namespace {

/// Answers each connection's requests with the texts it was given, one for each head that it reads.
class FakeDaemon {
public:
    explicit FakeDaemon(std::vector<std::string> answers) : answers_(std::move(answers)) {
        std::string folder = (std::filesystem::temp_directory_path() / "grua-client-XXXXXX").string();
        if (!::mkdtemp(folder.data())) fail_errno("mkdtemp");
        folder_ = folder;
        listener_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path().copy(address.sun_path, sizeof address.sun_path - 1);
        if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail_errno("bind");
        if (::listen(listener_.get(), 4) != 0) fail_errno("listen");
        thread_ = std::jthread([this] { serve(); });
    }
    ~FakeDaemon() {
        ::shutdown(listener_.get(), SHUT_RDWR);
        thread_.join();
        std::filesystem::remove_all(folder_);
    }

    std::string path() const { return folder_ + "/socket"; }
    Endpoint endpoint() const { return parse_endpoint("unix://" + path()); }

private:
    void serve() {
        while (next_ < answers_.size()) {
            const Fd peer{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
            if (!peer) return;
            std::string got;
            std::array<char, 4096> buffer;
            for (ssize_t count = ::recv(peer.get(), buffer.data(), buffer.size(), 0); count > 0;
                 count = ::recv(peer.get(), buffer.data(), buffer.size(), 0)) {
                got.append(buffer.data(), static_cast<std::size_t>(count));
                if (got.find("\r\n\r\n") == std::string::npos || next_ >= answers_.size()) continue;
                got.clear();
                const std::string& answer = answers_[next_++];
                ::send(peer.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
                if (answer.find("close") != std::string::npos || answer.starts_with("garbage") || answer.find("XX") != std::string::npos)
                    break;
            }
        }
    }

    std::vector<std::string> answers_;
    std::size_t next_ = 0;
    std::string folder_;
    Fd listener_;
    std::jthread thread_;
};

const std::string ping = "HTTP/1.1 200 OK\r\nApi-Version: 1.45\r\nContent-Length: 2\r\n\r\nOK";

TEST(Client, AgreesOnTheOlderVersion) {
    FakeDaemon daemon({ping});
    Client client(daemon.endpoint());
    EXPECT_EQ(client.api_version(), "1.45");
}

TEST(Client, ReadsLengthsAndChunksOnOneConnection) {
    FakeDaemon daemon({ping, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
                       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"b\r\n4;x=y\r\n\":2}\r\n0\r\n\r\n",
                       "HTTP/1.1 204 No Content\r\n\r\n"});
    Client client(daemon.endpoint());
    EXPECT_EQ(client.get("/x").at("a"), 1);
    EXPECT_EQ(client.get("/x").at("b"), 2);
    EXPECT_TRUE(client.post("/x").is_null());
}

TEST(Client, GivesTheDaemonsText) {
    FakeDaemon daemon({ping, "HTTP/1.1 404 Not Found\r\nContent-Length: 40\r\n\r\n{\"message\":\"No such container: nothing\"}"});
    Client client(daemon.endpoint());
    try {
        client.get("/containers/nothing/json");
        FAIL();
    } catch (const ApiError& error) {
        EXPECT_EQ(error.status(), 404);
        EXPECT_EQ(error.kind(), ErrorKind::not_found);
        EXPECT_STREQ(error.what(), "No such container: nothing");
    }
}

// F
TEST(Client, KnowsWhatAStartFailedWithWithoutItsWords) {
    const std::string bodies[] = {R"({"message":"exec: \"/no such file or directory\": permission denied","exitCode":126})",
                                  R"({"message":"no"})", R"({"message":"no","exitCode":"126"})"};
    const std::optional<int> expected[] = {126, std::nullopt, std::nullopt};
    for (std::size_t at = 0; at < std::size(bodies); ++at) {
        FakeDaemon daemon({ping, fmt::format("HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\n\r\n{}", bodies[at].size(), bodies[at])});
        Client client(daemon.endpoint());
        try {
            client.post("/containers/cc/start");
            ADD_FAILURE();
        } catch (const ApiError& error) {
            EXPECT_EQ(error.exit_code(), expected[at]) << bodies[at];
        }
    }
}

TEST(Client, RefusesWhatIsNotHttp) {
    FakeDaemon daemon({"garbage\r\n\r\n"});
    Client client(daemon.endpoint());
    EXPECT_THROW(client.negotiate(), Error);
}

TEST(Client, SaysWhenABodyIsCutShort) {
    FakeDaemon daemon({ping, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nXX"});
    Client client(daemon.endpoint());
    EXPECT_THROW(client.get("/x"), Error);
}

TEST(Connection, GivesTheStreamBehindAnUpgrade) {
    FakeDaemon daemon({"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nraw close"});
    Connection connection(daemon.endpoint());
    connection.send({.method = "POST", .target = "/attach", .upgrade = true});
    EXPECT_EQ(connection.receive().status, 101);
    auto [socket, rest] = connection.take_stream();
    rest += read_all(socket.get(), "stream");
    EXPECT_EQ(rest, "raw close");
}

TEST(Endpoint, IsReadAsDockerHostIsWritten) {
    EXPECT_EQ(parse_endpoint("unix:///run/x.sock").address, "/run/x.sock");
    EXPECT_EQ(parse_endpoint("tcp://[::1]:99").text(), "tcp://[::1]:99");
    EXPECT_EQ(parse_endpoint("tcp://localhost").port, "2375");
    EXPECT_EQ(parse_endpoint("http://h:1/").text(), "tcp://h:1");
    EXPECT_THROW(parse_endpoint("ftp://x"), Error);
    EXPECT_THROW(connect(parse_endpoint("unix:///no/such/socket")), Error);
}

TEST(Query, IsEscaped) {
    Query query;
    EXPECT_EQ(query.text(), "");
    query.add("a", "x y/").add_if(false, "b", "1").add("c", "");
    EXPECT_EQ(query.text(), "?a=x%20y%2F&c=");
}

}  // namespace
}  // namespace grua::client
