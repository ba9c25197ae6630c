#include "tls/relays.hpp"

#include "base/error.hpp"
#include "tls/test_certificates.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <array>
#include <future>
#include <random>
#include <thread>

namespace grua::tls {
namespace {

using ::testing::HasSubstr;

const TestCertificates& certificates() {
    static const TestCertificates made;
    return made;
}

Files files(const std::string& name, const std::string& authority = "ca") {
    return {.authorities = certificates().certificate(authority),
            .certificate = certificates().certificate(name),
            .key = certificates().key(name)};
}

std::string refusal(const Files& of, Verify clients = Verify::yes) {
    try {
        Context::server(of, clients);
    } catch (const Error& error) {
        return error.what();
    }
    return {};
}

std::pair<Fd, Fd> tcp_pair() {
    Fd listener{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size);
    ::listen(listener.get(), 1);
    ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
    Fd client{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    ::connect(client.get(), reinterpret_cast<sockaddr*>(&address), size);
    Fd server{::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
    return {std::move(client), std::move(server)};
}

void nonblocking(const Fd& fd) { ASSERT_EQ(::fcntl(fd.get(), F_SETFL, O_NONBLOCK), 0); }

std::pair<Relays::Done, std::future<Shaken>> waited() {
    const auto promise = std::make_shared<std::promise<Shaken>>();
    return {[promise](Shaken how) { promise->set_value(std::move(how)); }, promise->get_future()};
}

Shaken result(std::future<Shaken>& future) {
    if (future.wait_for(std::chrono::seconds(20)) != std::future_status::ready) fail(ErrorKind::system, "no handshake in 20 s");
    return future.get();
}

/// Up to `size` bytes, or to the end.
std::string read_up_to(const Fd& from, std::size_t size) {
    std::string out;
    std::array<char, 65536> piece;
    while (out.size() < size) {
        pollfd polled{from.get(), POLLIN, 0};
        if (::poll(&polled, 1, 20'000) <= 0) return out + "<nothing came>";
        const ssize_t got = ::recv(from.get(), piece.data(), std::min(piece.size(), size - out.size()), 0);
        if (got <= 0) break;
        out.append(piece.data(), static_cast<std::size_t>(got));
    }
    return out;
}

void write_all_to(const Fd& to, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = ::send(to.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) return;
        if (sent > 0) bytes.remove_prefix(static_cast<std::size_t>(sent));
        if (sent < 0) {
            pollfd polled{to.get(), POLLOUT, 0};
            ::poll(&polled, 1, 20'000);
        }
    }
}

struct Both {
    Shaken client;
    Shaken server;
};

Both shake(Relays& relays, const Context& client, const Context& server, const std::string& host = "127.0.0.1") {
    auto [ours, theirs] = tcp_pair();
    nonblocking(ours);
    auto [done, of_server] = waited();
    auto [connected, of_client] = waited();
    relays.accept(std::move(theirs), server, done);
    relays.connect(std::move(ours), client, host, connected);
    return {result(of_client), result(of_server)};
}

const Context& mutual() {
    static const Context context = Context::server(files("server"), Verify::yes);
    return context;
}

TEST(Context, NamesTheFileThatIsWrong) {
    EXPECT_EQ(refusal(files("server")), "");
    Files wrong = files("server");
    wrong.certificate = "/nowhere/cert.pem";
    EXPECT_THAT(refusal(wrong), HasSubstr("/nowhere/cert.pem: no such file"));
    wrong = files("server");
    wrong.key = certificates().key("client");
    EXPECT_EQ(refusal(wrong), certificates().key("client") + " is not the key of the certificate " + certificates().certificate("server"));
    wrong.key = certificates().certificate("server");
    EXPECT_THAT(refusal(wrong), HasSubstr("server.pem: no private key in PEM"));
    wrong = files("server");
    wrong.authorities = certificates().key("ca");
    EXPECT_THAT(refusal(wrong), HasSubstr("ca-key.pem: no certificate in PEM"));
    EXPECT_EQ(refusal(wrong, Verify::no), "");
    const std::string broken = certificates().folder() + "/broken.pem";
    for (const std::string& text : {std::string(), std::string("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
                                    std::string(1000, '\0'), read_file(certificates().certificate("server")).substr(0, 200)}) {
        replace_file(broken, text);
        wrong = files("server");
        wrong.certificate = broken;
        EXPECT_THAT(refusal(wrong), HasSubstr("broken.pem: no certificate in PEM")) << text;
    }
    EXPECT_THAT(dates_of(certificates().certificate("expired")), HasSubstr("expired.pem has expired"));
    EXPECT_EQ(dates_of(certificates().certificate("server")), "");
}

TEST(Context, AsksNobodyForAPassphrase) {
    const std::string locked = certificates().folder() + "/locked.pem";
    const std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key{EVP_EC_gen("P-256"), EVP_PKEY_free};
    FILE* out = std::fopen(locked.c_str(), "w");
    unsigned char secret[] = "secret";
    PEM_write_PrivateKey(out, key.get(), EVP_aes_256_cbc(), secret, 6, nullptr, nullptr);
    std::fclose(out);
    Files wrong = files("server");
    wrong.key = locked;
    EXPECT_EQ(refusal(wrong), "not implemented: " + locked + " has a passphrase");
}

TEST(Relays, TellWhoTheOtherSideIs) {
    Relays relays;
    const Both both = shake(relays, Context::client(files("client"), Verify::yes), mutual());
    EXPECT_EQ(both.server.failure, "");
    EXPECT_EQ(both.server.peer, "CN=client");
    EXPECT_EQ(both.client.peer, "CN=server");
    write_all_to(both.client.plain, "hello");
    EXPECT_EQ(read_up_to(both.server.plain, 5), "hello");
}

TEST(Relays, RefuseCertificatesAndSayWhy) {
    Relays relays;
    for (const auto& [name, said] :
         {std::pair{"expired", "the client's certificate (CN=expired): certificate has expired"},
          std::pair{"stranger", "the client's certificate (CN=stranger): unable to get local issuer certificate"},
          std::pair{"", "peer did not return a certificate"}}) {
        const Files shown = *name ? files(name) : Files{.authorities = certificates().certificate("ca"), .certificate = {}, .key = {}};
        const Both both = shake(relays, Context::client(shown, Verify::yes), mutual());
        EXPECT_THAT(both.server.failure, HasSubstr(said));
        // TLS 1.3: the client is told when it reads.
        EXPECT_EQ(read_up_to(both.client.plain, 1), "");
        EXPECT_THAT(both.client.ending->why(), HasSubstr("alert")) << name;
    }
    const Both other = shake(relays, Context::client(files("client", "other-ca"), Verify::yes), mutual());
    EXPECT_EQ(other.client.failure, "the server's certificate (CN=server): unable to get local issuer certificate");
    EXPECT_THAT(shake(relays, Context::client(files("client"), Verify::yes), mutual(), "example.org").client.failure,
                HasSubstr("hostname mismatch"));
    EXPECT_EQ(shake(relays, Context::client(files("client", "other-ca"), Verify::no), mutual(), "example.org").client.failure, "");
}

TEST(Relays, PassEachDirectionAndItsEndOn) {
    Relays relays;
    const Both both = shake(relays, Context::client(files("client"), Verify::yes), mutual());
    std::string large(5'000'000, '\0');
    std::mt19937 random{1};
    for (char& each : large) each = static_cast<char>(random());
    std::jthread up([&] {
        write_all_to(both.client.plain, large);
        ::shutdown(both.client.plain.get(), SHUT_WR);
    });
    std::jthread down([&] { write_all_to(both.server.plain, large); });
    std::string came_down;
    std::jthread reads([&] { came_down = read_up_to(both.client.plain, large.size()); });
    EXPECT_TRUE(read_up_to(both.server.plain, large.size()) == large);
    reads.join();
    EXPECT_TRUE(came_down == large);
    up.join();
    down.join();
    // One direction has ended, the other goes on.
    EXPECT_EQ(read_up_to(both.server.plain, 1), "");
    write_all_to(both.server.plain, "still here");
    EXPECT_EQ(read_up_to(both.client.plain, 10), "still here");
    ::shutdown(both.server.plain.get(), SHUT_WR);
    EXPECT_EQ(read_up_to(both.client.plain, 1), "");
}

TEST(Relays, ASideThatIsGoneEndsTheOther) {
    Relays relays;
    Both both = shake(relays, Context::client(files("client"), Verify::yes), mutual());
    both.server.plain = Fd{};
    EXPECT_EQ(read_up_to(both.client.plain, 1), "");
    both = shake(relays, Context::client(files("client"), Verify::yes), mutual());
    both.client.plain = Fd{};
    EXPECT_EQ(read_up_to(both.server.plain, 1), "");
}

TEST(Relays, WhatIsNoTlsHarmsNobody) {
    Relays relays;
    const auto said_to = [&](const std::string& said) {
        auto [ours, theirs] = tcp_pair();
        auto [done, future] = waited();
        relays.accept(std::move(theirs), mutual(), done);
        write_all_to(ours, said);
        const std::string answer = read_up_to(ours, 1000);
        return std::pair{answer, result(future).failure};
    };
    const auto [answer, failure] = said_to("DELETE /v1.44/containers/x HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_EQ(answer, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n");
    EXPECT_EQ(failure, "the client speaks HTTP without TLS");
    EXPECT_NE(said_to(std::string("\x16\x03\x01\xff\xff\xff", 6) + std::string(3000, '\xff')).second, "");
    EXPECT_NE(said_to(std::string(3000, '\x16')).second, "");
    EXPECT_NE(said_to(std::string(100, '\0')).second, "");
    EXPECT_EQ(shake(relays, Context::client(files("client"), Verify::yes), mutual()).server.failure, "");
}

TEST(Relays, HalfOpenHandshakesKeepNobodyOut) {
    auto relays = std::make_unique<Relays>();
    std::vector<Fd> silent;
    std::vector<std::future<Shaken>> futures;
    for (std::size_t i = 0; i < most_handshakes + 50; ++i) {
        auto [ours, theirs] = tcp_pair();
        if (i % 2 == 0) write_all_to(ours, std::string_view("\x16\x03\x01\x02\x00\x01", 6));
        auto [done, future] = waited();
        relays->accept(std::move(theirs), mutual(), done);
        silent.push_back(std::move(ours));
        futures.push_back(std::move(future));
    }
    EXPECT_EQ(shake(*relays, Context::client(files("client"), Verify::yes), mutual()).server.peer, "CN=client");
    // The oldest gave way.
    EXPECT_EQ(result(futures.front()).failure, "it gave way to others");
    // A client that leaves in the middle.
    silent.back() = Fd{};
    EXPECT_NE(result(futures.back()).failure, "");
    relays.reset();
    EXPECT_EQ(result(futures[most_handshakes]).failure, "its process ended");
}

TEST(Relays, AHandshakeHasItsTime) {
    Relays relays{std::chrono::milliseconds(200)};
    for (const std::string_view begun : {std::string_view(), std::string_view("\x16"), std::string_view("\x16\x03\x01\x02\x00\x01", 6)}) {
        auto [ours, theirs] = tcp_pair();
        write_all_to(ours, begun);
        auto [done, future] = waited();
        relays.accept(std::move(theirs), mutual(), done);
        EXPECT_EQ(result(future).failure, "the handshake took too long");
        EXPECT_EQ(read_up_to(ours, 1), "");
    }
}

TEST(Relays, NobodyRenegotiates) {
    Relays relays;
    auto [ours, theirs] = tcp_pair();
    auto [done, future] = waited();
    relays.accept(std::move(theirs), mutual(), done);
    const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context{SSL_CTX_new(TLS_client_method()), SSL_CTX_free};
    SSL_CTX_set_max_proto_version(context.get(), TLS1_2_VERSION);
    SSL_CTX_use_certificate_file(context.get(), certificates().certificate("client").c_str(), SSL_FILETYPE_PEM);
    SSL_CTX_use_PrivateKey_file(context.get(), certificates().key("client").c_str(), SSL_FILETYPE_PEM);
    const std::unique_ptr<SSL, void (*)(SSL*)> session{SSL_new(context.get()), SSL_free};
    SSL_set_fd(session.get(), ours.get());
    ASSERT_EQ(SSL_connect(session.get()), 1);
    const Shaken server = result(future);
    EXPECT_EQ(SSL_renegotiate(session.get()), 1);
    SSL_do_handshake(session.get());
    char byte = 0;
    EXPECT_LE(SSL_read(session.get(), &byte, 1), 0);
    EXPECT_EQ(SSL_version(session.get()), TLS1_2_VERSION);
}

TEST(Relays, TlsBefore12IsRefused) {
    Relays relays;
    auto [ours, theirs] = tcp_pair();
    auto [done, future] = waited();
    relays.accept(std::move(theirs), mutual(), done);
    const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context{SSL_CTX_new(TLS_client_method()), SSL_CTX_free};
    SSL_CTX_set_security_level(context.get(), 0);
    SSL_CTX_set_min_proto_version(context.get(), TLS1_VERSION);
    SSL_CTX_set_max_proto_version(context.get(), TLS1_1_VERSION);
    const std::unique_ptr<SSL, void (*)(SSL*)> session{SSL_new(context.get()), SSL_free};
    SSL_set_fd(session.get(), ours.get());
    EXPECT_LE(SSL_connect(session.get()), 0);
    EXPECT_THAT(result(future).failure, HasSubstr("protocol"));
}

}  // namespace
}  // namespace grua::tls
