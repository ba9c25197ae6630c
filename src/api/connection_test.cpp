#include "api/connection.hpp"

#include "base/error.hpp"
#include "engine/containers.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <filesystem>
#include <new>
#include <thread>

namespace grua::api {
namespace {

using namespace std::chrono_literals;

/// A server whose every request is answered by `dispatch`, on a thread of its own, and one client.
class Served {
public:
    explicit Served(Dispatch dispatch) : connections_(loop_.get_executor(), std::move(dispatch), "Server: test\r\n") {
        std::array<int, 2> ends{};
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) fail_errno("socketpair");
        client_ = Fd{ends[0]};
        connections_.serve(Fd{ends[1]}, {.listener = "unix:///test", .peer = {}, .address = {}, .certificate = {}});
        thread_ = std::thread([this] { loop_.run(); });
    }
    ~Served() {
        client_ = Fd{};
        thread_.join();
    }
    Served(const Served&) = delete;
    Served& operator=(const Served&) = delete;

    void send(std::string_view text) {
        ASSERT_EQ(::send(client_.get(), text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
    }
    /// As much as the socket takes.
    void try_send(std::string_view text) {
        while (!text.empty()) {
            const ssize_t sent = ::send(client_.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
            if (sent <= 0) return;
            text.remove_prefix(static_cast<std::size_t>(sent));
        }
    }

    /// What comes until `enough` has, or the end.
    std::string receive(std::string_view enough) {
        std::array<char, 4096> piece{};
        while (!received_.contains(enough)) {
            const ssize_t got = ::recv(client_.get(), piece.data(), piece.size(), 0);
            if (got <= 0) break;
            received_.append(piece.data(), static_cast<std::size_t>(got));
        }
        return std::exchange(received_, {});
    }

private:
    asio::io_context loop_;
    Connections connections_;
    Fd client_;
    std::string received_;
    std::thread thread_;
};

constexpr std::string_view simple = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

Dispatch throwing(auto thrower) {
    return [thrower](Exchange&) -> asio::awaitable<void> {
        thrower();
        co_return;
    };
}

// C5
TEST(Connection, what_is_no_error_of_ours_is_answered_too_and_the_connection_goes_on) {
    int turn = 0;
    Served served(throwing([&turn] {
        switch (turn++) {
            case 0:
                throw std::filesystem::filesystem_error("open it", "/a/b", std::make_error_code(std::errc::io_error));
            case 1:
                throw std::bad_alloc();
            case 2:
                throw std::out_of_range("no such place");
            default:
                throw boost::system::system_error(boost::asio::error::operation_aborted);
        }
    }));
    for (const char* text : {"open it", "out of memory", "no such place", "canceled"}) {
        served.send(simple);
        const std::string answer = served.receive("}\n");
        EXPECT_TRUE(answer.starts_with("HTTP/1.1 500 Internal Server Error\r\n")) << answer;
        EXPECT_TRUE(answer.contains(text)) << answer;
    }
}

// F
TEST(Connection, every_status_has_its_reason) {
    ErrorKind kind{};
    Served served(throwing([&kind] { fail(kind, "no"); }));
    const std::pair<ErrorKind, const char*> all[] = {
        {ErrorKind::invalid_argument, "400 Bad Request"},
        {ErrorKind::unauthorized, "401 Unauthorized"},
        {ErrorKind::forbidden, "403 Forbidden"},
        {ErrorKind::not_found, "404 Not Found"},
        {ErrorKind::conflict, "409 Conflict"},
        {ErrorKind::system, "500 Internal Server Error"},
        {ErrorKind::not_implemented, "501 Not Implemented"},
        {ErrorKind::unavailable, "503 Service Unavailable"},
    };
    for (const auto& [each, expected] : all) {
        kind = each;
        served.send(simple);
        const std::string answer = served.receive("}\n");
        EXPECT_TRUE(answer.starts_with(std::string("HTTP/1.1 ") + expected + "\r\n")) << answer;
    }
    kind = ErrorKind::not_modified;
    served.send(simple);
    EXPECT_TRUE(served.receive("\r\n\r\n").starts_with("HTTP/1.1 304 Not Modified\r\n"));
}

// F
TEST(Connection, a_failed_start_says_its_exit_status_beside_its_words) {
    Served served(throwing([] { throw engine::StartFailed(Error(ErrorKind::invalid_argument, "permission denied: not found"), 127); }));
    served.send(simple);
    const std::string answer = served.receive("}\n");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 400 Bad Request\r\n")) << answer;
    EXPECT_TRUE(answer.ends_with("{\"message\":\"permission denied: not found\",\"exitCode\":127}\n")) << answer;
}

/// Answers with what the request was: its target, the body, what was sent early where it is hijacked.
asio::awaitable<void> echo(Exchange& exchange) {
    if (!exchange.head().header("upgrade").empty() || exchange.head().path == "/attach") {
        const Hijacked client = co_await exchange.hijack("application/octet-stream");
        const std::string text = "early=" + client.early_input + ".";
        (void)::send(client.socket.get(), text.data(), text.size(), MSG_NOSIGNAL);
        co_return;
    }
    const std::string body = co_await exchange.read_body();
    co_await exchange.send(200, exchange.head().path + "=" + body + ".");
}

// G3: dockerode sends its options as JSON there.
TEST(Connection, a_body_of_a_request_that_is_hijacked_is_no_input) {
    for (const char* length :
         {"Content-Length: 15\r\n\r\n{\"stream\":true}", "Transfer-Encoding: chunked\r\n\r\nf;x=y\r\n{\"stream\":true}\r\n0\r\n\r\n"}) {
        Served served(echo);
        served.send(std::string("POST /attach HTTP/1.1\r\nHost: a\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n") + length + "typed early");
        const std::string answer = served.receive(".");
        EXPECT_TRUE(answer.starts_with("HTTP/1.1 101 UPGRADED\r\n")) << answer;
        served.receive("no such text");
    }
    Served in_pieces(echo);
    in_pieces.send("POST /attach HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
    in_pieces.send("cdtyped");
    EXPECT_TRUE(in_pieces.receive("typed.").ends_with("early=typed."));
}

TEST(Connection, what_follows_the_body_of_a_request_that_is_hijacked_is_input) {
    Served served(echo);
    served.send("POST /attach HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbodytyped");
    EXPECT_TRUE(served.receive("typed.").ends_with("\r\n\r\nearly=typed."));
    Served without(echo);
    without.send("POST /attach HTTP/1.1\r\nHost: a\r\n\r\ntyped");
    EXPECT_TRUE(without.receive("typed.").ends_with("\r\n\r\nearly=typed."));
}

TEST(Connection, a_client_that_begins_with_http_2_is_the_builders) {
    const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    Served served([](Exchange& exchange) -> asio::awaitable<void> {
        const Hijacked taken = co_await exchange.hijack("application/grpc");
        const std::string answer = exchange.head().path + " has all of it: " + taken.early_input + ".";
        (void)::send(taken.socket.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
    });
    // In pieces, of which the first could be another request's.
    for (const std::string& each : {preface.substr(0, 1), preface.substr(1, 9), preface.substr(10) + "frames"}) {
        served.send(each);
        std::this_thread::sleep_for(20ms);
    }
    EXPECT_EQ(served.receive("frames."), "/grpc has all of it: " + preface + "frames.");
}

TEST(Connection, http_2_within_a_connection_is_no_request) {
    Served served([](Exchange& exchange) -> asio::awaitable<void> { co_await exchange.send(200, exchange.head().method); });
    served.send("P");
    std::this_thread::sleep_for(20ms);
    served.send("UT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    EXPECT_TRUE(served.receive("PUT").contains("200 OK"));
    served.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    EXPECT_TRUE(served.receive("\r\n\r\n").contains("400 Bad Request"));
}

TEST(Connection, requests_that_come_at_once_are_answered_in_turn) {
    Served served(echo);
    served.send(
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        "1;ext=\"long\"\r\n2\r\n0\r\nTrailer: x\r\n\r\nGET /c HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    const std::string all = served.receive("no such text");
    const auto a = all.find("/a=1.");
    const auto b = all.find("/b=2.");
    const auto c = all.find("/c=.");
    EXPECT_TRUE(a < b && b < c && c != std::string::npos) << all;
}

TEST(Connection, a_client_that_waits_for_a_hundred_gets_it_when_its_body_is_wanted) {
    Served served(echo);
    served.send("POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    EXPECT_EQ(served.receive("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    served.send("body");
    EXPECT_TRUE(served.receive("/a=body.").contains("200 OK"));
}

TEST(Connection, what_is_too_large_is_refused_with_an_answer) {
    Served headers(echo);
    std::thread sender([&] { headers.send("GET /a HTTP/1.1\r\nHost: a\r\nX: " + std::string(300'000, 'x') + "\r\n\r\n"); });
    EXPECT_TRUE(headers.receive("}\n").starts_with("HTTP/1.1 431 "));
    sender.join();
    Served body(echo);
    body.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n");
    EXPECT_TRUE(body.receive("}\n").starts_with("HTTP/1.1 413 Request Entity Too Large\r\n"));
    Served chunk(echo);
    chunk.send("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnothex\r\n");
    EXPECT_TRUE(chunk.receive("}\n").starts_with("HTTP/1.1 400 Bad Request\r\n"));
}

/// A stream that ends only by its client's leaving.
struct Streamed {
    bool ended = false;
    Dispatch dispatch() {
        return [this](Exchange& exchange) -> asio::awaitable<void> {
            struct Ended {
                bool& flag;
                ~Ended() { flag = true; }
            } const guard{ended};
            co_await exchange.begin(200, "text/plain");
            exchange.cancel_when_client_leaves();
            co_await exchange.write("begun");
            asio::steady_timer never{co_await asio::this_coro::executor, 1h};
            co_await never.async_wait(asio::use_awaitable);
        };
    }
};

// A1's kind: a client whose leaving nobody sees holds what it asked for.
TEST(Connection, a_client_that_leaves_its_stream_is_noticed_whatever_it_sent_before) {
    for (const std::string& more : {std::string(), std::string(simple), std::string(100'000, 'x'), std::string(400'000, 'x')}) {
        Streamed stream;
        {
            Served served(stream.dispatch());
            served.send(simple);
            served.receive("begun");
            served.try_send(more);
        }
        EXPECT_TRUE(stream.ended) << more.size();
    }
}

}  // namespace
}  // namespace grua::api
