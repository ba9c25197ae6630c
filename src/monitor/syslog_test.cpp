#include "monitor/syslog.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "monitor/log_tls.hpp"
#include "monitor/test_log_host.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <thread>

namespace grua::monitor {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr Time noon{std::chrono::nanoseconds(1'767'323'045'678'901'234)};  // 2026-01-02T03:04:05.678901234Z

class InUtc {
public:
    InUtc() {
        ::setenv("TZ", zone(), 1);
        ::tzset();
    }
    ~InUtc() {
        ::unsetenv("TZ");
        ::tzset();
    }
    static const char* zone() { return "UTC0"; }
};

TEST(SyslogMessage, HasDockersForms) {
    const InUtc utc;
    SyslogTarget target{.facility = 3, .hostname = "here"};
    const LogLine line{.stream = Stream::standard_error, .text = "hello", .time = noon};
    const auto with = [&](const char* format) {
        target.format = format;
        return syslog_message(target, "tag", line, 42);
    };
    EXPECT_EQ(with(""), "<27>Jan  2 03:04:05 tag[42]: hello\n");
    EXPECT_EQ(with("rfc3164"), "<27>Jan  2 03:04:05 here tag[42]: hello\n");
    EXPECT_EQ(with("rfc5424"), "<27>1 2026-01-02T03:04:05Z here tag 42 tag - hello\n");
    EXPECT_EQ(with("rfc5424micro"), "<27>1 2026-01-02T03:04:05.678901Z here tag 42 tag - hello\n");
    target.facility = 16;
    EXPECT_EQ(syslog_message(target, "t", {.text = "x", .time = noon}, 1), "<134>1 2026-01-02T03:04:05.678901Z here t 1 t - x\n");
    target.facility = 3;
    ::setenv("TZ", "XXX-5:30", 1);
    ::tzset();
    EXPECT_EQ(with("rfc5424"), "<27>1 2026-01-02T08:34:05+05:30 here tag 42 tag - hello\n");
    ::setenv("TZ", "XXX3:30", 1);
    ::tzset();
    EXPECT_EQ(with("rfc5424"), "<27>1 2026-01-01T23:34:05-03:30 here tag 42 tag - hello\n");
}

struct Server {
    Fd socket;
    std::uint16_t port = 0;
};

Server tcp_server(std::uint16_t port = 0, int type = SOCK_STREAM) {
    Server out;
    out.socket = Fd(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
    constexpr int on = 1;
    ::setsockopt(out.socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(out.socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    if (type == SOCK_STREAM) EXPECT_EQ(::listen(out.socket.get(), 5), 0);
    socklen_t size = sizeof address;
    ::getsockname(out.socket.get(), reinterpret_cast<sockaddr*>(&address), &size);
    out.port = ntohs(address.sin_port);
    return out;
}

Fd unix_server(const std::string& path, int type) {
    Fd out(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    (void)::unlink(path.c_str());
    EXPECT_EQ(::bind(out.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    if (type == SOCK_STREAM) EXPECT_EQ(::listen(out.get(), 5), 0);
    return out;
}

Fd accept(const Fd& listener) { return Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)); }

/// The next `lines` of a stream, what stands in front of the text left out.
std::vector<std::string> read_lines(const Fd& from, std::size_t lines) {
    std::vector<std::string> out;
    std::string held;
    std::array<char, 4096> bytes{};
    while (out.size() < lines) {
        const ssize_t got = ::read(from.get(), bytes.data(), bytes.size());
        if (got <= 0) break;
        held.append(bytes.data(), static_cast<std::size_t>(got));
        for (std::size_t end = 0; out.size() < lines && (end = held.find('\n')) != std::string::npos; held.erase(0, end + 1))
            out.push_back(held.substr(std::min(end, held.find("]: ") + 3), end - std::min(end, held.find("]: ") + 3)));
    }
    return out;
}

SyslogTarget tcp_target(std::uint16_t port, const char* network = "tcp") {
    return {.network = network, .host = "127.0.0.1", .addresses = {"127.0.0.1"}, .port = port};
}

void log(Syslog& driver, std::string_view text) {
    driver.log({.text = text, .time = noon});
    driver.flush();
}

TEST(Syslog, OverTcp) {
    const Server server = tcp_server();
    TestLogHost host;
    Syslog driver(host, tcp_target(server.port), "tag");
    driver.log({.text = "one", .time = noon});
    driver.log({.text = "", .time = noon});  // None is sent.
    driver.log({.text = "two", .time = noon});
    driver.flush();
    EXPECT_THAT(read_lines(accept(server.socket), 2), ElementsAre("one", "two"));
    EXPECT_THAT(host.news, IsEmpty());
}

// Of several addresses the first that answers.
TEST(Syslog, WhereOneAddressDoesNotAnswer) {
    const Server server = tcp_server();
    TestLogHost host;
    SyslogTarget target = tcp_target(server.port);
    target.addresses = {"127.0.0.9", "::1", "127.0.0.1"};
    Syslog driver(host, target, "tag");
    log(driver, "one");
    EXPECT_THAT(read_lines(accept(server.socket), 1), ElementsAre("one"));
    EXPECT_THAT(host.news, IsEmpty());
}

TEST(Syslog, OneThatDiesAndComesBackMissesNothing) {
    std::optional<Server> server = tcp_server();
    const std::uint16_t port = server->port;
    TestLogHost host;
    Syslog driver(host, tcp_target(port), "tag");
    log(driver, "one");
    {
        const Fd peer = accept(server->socket);
        EXPECT_THAT(read_lines(peer, 1), ElementsAre("one"));
    }
    server.reset();
    std::jthread back([&] {
        std::this_thread::sleep_for(400ms);
        server = tcp_server(port);
    });
    log(driver, "two");
    back.join();
    log(driver, "three");
    EXPECT_THAT(read_lines(accept(server->socket), 2), ElementsAre("two", "three"));
    EXPECT_THAT(host.news, ElementsAre(fmt::format("tcp://127.0.0.1:{} is away: it has closed the connection", port),
                                       fmt::format("tcp://127.0.0.1:{} is there again", port)));
    EXPECT_EQ(driver.lost(), 0U);
}

// It closes with much of it unread: what its kernel had not taken is sent again, and a message that was cut is sent whole.
TEST(Syslog, OneThatClosesInTheMiddle) {
    const Server server = tcp_server();
    constexpr int small = 4096;
    ::setsockopt(server.socket.get(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    TestLogHost host;
    constexpr int count = 3000;
    std::vector<std::string> first;
    std::vector<std::string> second;
    std::jthread serving([&] {
        {
            const Fd slow = accept(server.socket);
            first = read_lines(slow, 50);
            std::this_thread::sleep_for(300ms);  // The driver fills what there is to fill.
        }
        second = read_lines(accept(server.socket), count);
    });
    {
        Syslog driver(host, tcp_target(server.port), "tag");
        for (int i = 0; i < count; ++i) log(driver, fmt::format("{:0500}", i));
        log(driver, "last");
        EXPECT_EQ(driver.lost(), 0U);
    }
    serving.join();
    ASSERT_FALSE(second.empty());
    // From there on all are there; before it, at most what the first connection's receiver had in hand.
    const int begin = std::atoi(second.front().c_str());
    EXPECT_LT(begin, 50 + 200);
    ASSERT_EQ(second.back(), "last");
    for (std::size_t i = 0; i + 1 < second.size(); ++i) ASSERT_EQ(second[i], fmt::format("{:0500}", begin + static_cast<int>(i)));
    EXPECT_EQ(second.size(), static_cast<std::size_t>(count - begin + 1));
}

TEST(Syslog, OneThatIsSlowGetsAll) {
    const Server server = tcp_server();
    TestLogHost host;
    std::vector<std::string> got;
    std::jthread serving([&] {
        const Fd peer = accept(server.socket);
        std::this_thread::sleep_for(500ms);
        got = read_lines(peer, 3000);
    });
    Syslog driver(host, tcp_target(server.port), "tag");
    for (int i = 0; i < 3000; ++i) driver.log({.text = fmt::format("{:01000}", i), .time = noon});
    driver.flush();
    serving.join();
    ASSERT_EQ(got.size(), 3000U);
    EXPECT_EQ(got.back(), fmt::format("{:01000}", 2999));
    EXPECT_THAT(host.news, IsEmpty());
}

TEST(Syslog, WhereNobodyIsItGivesUpInTheEnd) {
    std::uint16_t port = 0;
    {
        port = tcp_server().port;
    }
    TestLogHost host;
    host.end = std::chrono::steady_clock::now() + 300ms;
    Syslog driver(host, tcp_target(port), "tag");
    log(driver, "one");
    EXPECT_EQ(driver.lost(), 1U);
    EXPECT_THAT(host.news, ElementsAre(fmt::format("tcp://127.0.0.1:{} is away: Connection refused", port)));
}

std::string next_datagram(const Fd& from) {
    std::array<char, 65536> bytes{};
    const ssize_t got = ::recv(from.get(), bytes.data(), bytes.size(), 0);
    return {bytes.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))};
}

TEST(Syslog, OverUdp) {
    const Server server = tcp_server(0, SOCK_DGRAM);
    TestLogHost host;
    Syslog driver(host, tcp_target(server.port, "udp"), "tag");
    log(driver, "one");
    log(driver, std::string(16 << 10, 'x'));
    EXPECT_TRUE(next_datagram(server.socket).ends_with("]: one\n"));
    EXPECT_TRUE(next_datagram(server.socket).ends_with(std::string(16 << 10, 'x') + "\n"));
}

// Nobody knows whether a datagram came: it is told once, and nobody waits.
TEST(Syslog, UdpNeverWaits) {
    std::uint16_t port = 0;
    {
        port = tcp_server(0, SOCK_DGRAM).port;
    }
    TestLogHost host;
    Syslog driver(host, tcp_target(port, "udp"), "tag");
    for (int i = 0; i < 1000; ++i) log(driver, "x");
    EXPECT_THAT(host.news, ElementsAre(fmt::format("udp://127.0.0.1:{} is away: Connection refused", port)));
    const Server server = tcp_server(port, SOCK_DGRAM);
    log(driver, "one");
    EXPECT_TRUE(next_datagram(server.socket).ends_with("one\n"));
}

class SyslogPath : public testing::Test {
protected:
    SyslogPath() {
        std::string path = fs::temp_directory_path() / "grua-syslog-XXXXXX";
        folder_ = ::mkdtemp(path.data());
        (void)std::signal(SIGPIPE, SIG_IGN);  // As in a worker; OpenSSL writes without MSG_NOSIGNAL.
    }
    ~SyslogPath() override { fs::remove_all(folder_); }
    SyslogTarget target(const char* network) const { return {.network = network, .addresses = {folder_ + "/log"}}; }
    std::string folder_;
};

TEST_F(SyslogPath, Stream) {
    const Fd server = unix_server(folder_ + "/log", SOCK_STREAM);
    TestLogHost host;
    Syslog driver(host, target("unix"), "tag");
    log(driver, "one");
    EXPECT_THAT(read_lines(accept(server), 1), ElementsAre("one"));
}

TEST_F(SyslogPath, Datagrams) {
    Fd server = unix_server(folder_ + "/log", SOCK_DGRAM);
    TestLogHost host;
    Syslog driver(host, target("unixgram"), "tag");
    log(driver, "one");
    EXPECT_TRUE(next_datagram(server).ends_with("]: one\n"));
    server = {};
    std::jthread back([&] {
        std::this_thread::sleep_for(300ms);
        server = unix_server(folder_ + "/log", SOCK_DGRAM);
    });
    log(driver, "two");
    back.join();
    EXPECT_TRUE(next_datagram(server).ends_with("]: two\n"));
    EXPECT_THAT(host.news, ElementsAre(fmt::format("unixgram://{}/log is away: Connection refused", folder_),
                                       fmt::format("unixgram://{}/log is there again", folder_)));
}

TEST_F(SyslogPath, AFullQueueIsWaitedFor) {
    const Fd server = unix_server(folder_ + "/log", SOCK_DGRAM);
    TestLogHost host;
    Syslog driver(host, target("unixgram"), "tag");
    std::size_t got = 0;
    std::jthread serving([&] {
        std::this_thread::sleep_for(200ms);
        while (next_datagram(server).find("last") == std::string::npos) ++got;
    });
    for (int i = 0; i < 2000; ++i) log(driver, "x");
    log(driver, "last");
    serving.join();
    EXPECT_EQ(got, 2000U);
    EXPECT_EQ(driver.lost(), 0U);
}

/// A server with TLS for one connection after the other.
class TlsServer {
public:
    explicit TlsServer(const std::string& folder) : server_(tcp_server()), context_(::SSL_CTX_new(::TLS_server_method())) {
        const std::string make = fmt::format(
            "cd {} && openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=log "
            "-addext subjectAltName=DNS:log.test,IP:127.0.0.1 2>/dev/null",
            folder);
        if (!fs::exists(folder + "/cert.pem")) EXPECT_EQ(std::system(make.c_str()), 0);
        EXPECT_EQ(::SSL_CTX_use_certificate_file(context_, (folder + "/cert.pem").c_str(), SSL_FILETYPE_PEM), 1);
        EXPECT_EQ(::SSL_CTX_use_PrivateKey_file(context_, (folder + "/key.pem").c_str(), SSL_FILETYPE_PEM), 1);
    }
    ~TlsServer() { ::SSL_CTX_free(context_); }
    std::uint16_t port() const { return server_.port; }

    /// What a connection brings until it has `size` bytes.
    std::string read(std::size_t size) const {
        const Fd peer = accept(server_.socket);
        SSL* ssl = ::SSL_new(context_);
        ::SSL_set_fd(ssl, peer.get());
        std::string out;
        std::array<char, 4096> bytes{};
        if (::SSL_accept(ssl) == 1)
            while (out.size() < size) {
                const int got = ::SSL_read(ssl, bytes.data(), static_cast<int>(bytes.size()));
                if (got <= 0) break;
                out.append(bytes.data(), static_cast<std::size_t>(got));
            }
        ::SSL_free(ssl);
        return out;
    }

private:
    Server server_;
    SSL_CTX* context_;
};

TEST_F(SyslogPath, OverTls) {
    const TlsServer server(folder_);
    TestLogHost host;
    SyslogTarget target = tcp_target(server.port(), "tcp+tls");
    target.ca_file = folder_ + "/cert.pem";
    target.format = "rfc5424";
    target.hostname = "here";
    const InUtc utc;
    const std::string message = syslog_message(target, "tag", {.text = "hello", .time = noon}, ::getpid());
    const std::string expected = std::to_string(message.size()) + " " + message;
    std::string got;
    std::string after;
    std::jthread serving([&] {
        got = server.read(expected.size());
        after = server.read(expected.size());
    });
    Syslog driver(host, target, "tag", tls_sessions(target));
    log(driver, "hello");
    // The server has closed, and the next connection gets the rest.
    while (host.news.empty()) log(driver, "hello");
    serving.join();
    EXPECT_EQ(got, expected);
    EXPECT_EQ(after, expected);
    EXPECT_THAT(host.news.front(), HasSubstr("is away"));
}

TEST_F(SyslogPath, CertificatesAreChecked) {
    const auto told = [&](const auto& change) {
        const TlsServer server(folder_);
        TestLogHost host;
        host.at_wait = [&host] {
            if (!host.news.empty()) host.end = {};
        };
        SyslogTarget target = tcp_target(server.port(), "tcp+tls");
        change(target);
        std::string got;
        std::jthread serving([&] { got = server.read(1); });
        Syslog driver(host, target, "tag", tls_sessions(target));
        log(driver, "hello");
        // A server that waits still, where no connection was tried.
        const Fd last(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(server.port());
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        (void)::connect(last.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
        ::shutdown(last.get(), SHUT_RDWR);
        serving.join();
        return host.news.empty() ? "sent " + got.substr(0, 1) : host.news.front();
    };
    EXPECT_THAT(told([](SyslogTarget&) {}), HasSubstr("its certificate is not accepted: self-signed certificate"));
    EXPECT_THAT(told([&](SyslogTarget& target) {
                    target.ca_file = folder_ + "/cert.pem";
                    target.host = "other.test";
                }),
                HasSubstr("its certificate is not accepted: hostname mismatch"));
    EXPECT_THAT(told([&](SyslogTarget& target) {
                    target.ca_file = folder_ + "/cert.pem";
                    target.host = "log.test";
                }),
                "sent <");
    EXPECT_THAT(told([](SyslogTarget& target) { target.skip_verify = true; }), "sent <");
    EXPECT_THAT(told([](SyslogTarget& target) { target.ca_file = "/nosuch"; }), HasSubstr("/nosuch: no such file"));
}

}  // namespace
}  // namespace grua::monitor
