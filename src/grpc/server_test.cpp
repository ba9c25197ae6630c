#include "grpc/server.hpp"

#include "base/test_loop.hpp"
#include "grpc/client.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <array>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>

namespace grua::grpc {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

asio::awaitable<void> pause_for(std::chrono::milliseconds time) {
    asio::steady_timer timer(co_await asio::this_coro::executor, time);
    co_await timer.async_wait(asio::use_awaitable);
}

/// A server with its services and a client, on both ends of a socket pair.
class ServerTest : public testing::Test {
protected:
    ServerTest() {
        services.add("/t.T/Echo", [](ServerCall& call) -> asio::awaitable<void> {
            while (auto message = co_await call.read()) co_await call.write(*message);
        });
        services.add("/t.T/Upper", [](ServerCall& call) -> asio::awaitable<void> {
            std::string text = co_await call.read_only();
            for (char& c : text) c = static_cast<char>(std::toupper(c));
            co_await call.write(text);
        });
        services.add("/t.T/Fail", [](ServerCall& call) -> asio::awaitable<void> {
            (void)co_await call.read_only();
            throw CallError({.code = Code::unknown, .message = "exit code: 3\n100 %", .details = std::string("\0\1", 2)});
        });
        services.add("/t.T/FailLate", [](ServerCall& call) -> asio::awaitable<void> {
            co_await call.write("one");
            fail(ErrorKind::not_found, "no such thing");
        });
        services.add("/t.T/Refuse", [](ServerCall&) -> asio::awaitable<void> {
            throw CallError({.code = Code::permission_denied, .message = "not for you", .details = {}});
            co_return;
        });
        services.add("/t.T/Large", [](ServerCall& call) -> asio::awaitable<void> {
            for (int i = 0; i < 64; ++i) co_await call.write(std::string(std::size_t{1} << 20U, static_cast<char>('a' + i % 26)));
        });
        services.add("/t.T/Wait", [this](ServerCall& call) -> asio::awaitable<void> {
            call.begin({{"x-time", "now"}});
            ++waiting;
            try {
                co_await pause_for(60s);
            } catch (const boost::system::system_error&) {
                ++cancelled;
                throw;
            }
        });
    }

    template <typename Body>
    void with_client(Body body) {
        std::array<int, 2> pair{};
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
        run_on_loop(loop, [&]() -> asio::awaitable<void> {
            const auto executor = loop.get_executor();
            asio::co_spawn(executor, services.serve(executor, over_socket(executor, Fd(pair[0]))), asio::detached);
            client = Http2::make(executor, over_socket(executor, Fd(pair[1])), Http2::Role::client);
            asio::co_spawn(executor, client->run(), asio::detached);
            std::exception_ptr failure;
            try {
                co_await body();
            } catch (...) {
                failure = std::current_exception();
            }
            client->close("the test is over");
            if (failure) std::rethrow_exception(failure);
        });
    }

    asio::awaitable<Status> status_of_call(std::string method, std::string request, CallOptions options = {}) {
        try {
            (void)co_await call(*client, std::move(method), std::move(request), std::move(options));
        } catch (const CallError& error) {
            co_return error.status();
        }
        co_return Status{};
    }

    asio::io_context loop;
    Services services;
    std::shared_ptr<Http2> client;
    int waiting = 0;
    int cancelled = 0;
};

TEST_F(ServerTest, OneMessageThereAndOneBack) {
    with_client([&]() -> asio::awaitable<void> {
        EXPECT_EQ(co_await call(*client, "/t.T/Upper", "abc"), "ABC");
        EXPECT_EQ(co_await call(*client, "/t.T/Upper", ""), "");
        const std::string large(5'000'000, 'x');
        EXPECT_EQ((co_await call(*client, "/t.T/Upper", large)).size(), large.size());
        for (int i = 0; i < 1000; ++i) EXPECT_EQ(co_await call(*client, "/t.T/Upper", "a"), "A");
        EXPECT_EQ(client->streams(), 0U);
    });
}

/// It would not be sent at all, and the client would wait for ever.
TEST_F(ServerTest, AFailureThatIsTooLongIsSaidInPart) {
    std::string message = "wrong: " + std::string(1'000'000, 'x');
    std::string details = "short";
    services.add("/t.T/Long", [&](ServerCall& call) -> asio::awaitable<void> {
        (void)co_await call.read_only();
        throw CallError({.code = Code::unknown, .message = message, .details = details});
    });
    services.add("/t.T/LongLate", [&](ServerCall& call) -> asio::awaitable<void> {
        co_await call.write("one");
        throw CallError({.code = Code::unknown, .message = message, .details = std::string(1'000'000, 'y')});
    });
    with_client([&]() -> asio::awaitable<void> {
        Status failed = co_await status_of_call("/t.T/Long", "x", {.timeout = 20s});
        EXPECT_EQ(failed.code, Code::unknown);
        EXPECT_TRUE(failed.message.starts_with("wrong: xxx"));
        EXPECT_EQ(failed.details, "short");
        details = std::string(1'000'000, 'y');
        failed = co_await status_of_call("/t.T/Long", "x", {.timeout = 20s});
        EXPECT_EQ(failed.code, Code::unknown);
        EXPECT_TRUE(failed.message.starts_with("wrong: xxx"));
        EXPECT_EQ(failed.details, "");
        EXPECT_EQ((co_await status_of_call("/t.T/LongLate", "x", {.timeout = 20s})).code, Code::unknown);
    });
}

/// 250 calls with 16 MiB each would be four gigabytes.
TEST_F(ServerTest, MessagesThatAreNotWholeHaveABoundTogether) {
    with_client([&]() -> asio::awaitable<void> {
        bool was_refused = false;
        // A frame's head says 15 MiB, and a little less comes.
        std::string part = frame(std::string(std::size_t{15} << 20U, 'x'));
        part.resize(part.size() - 1);
        const auto begin = [&]() -> asio::awaitable<void> {
            const StreamPtr stream = client->open({{":method", "POST"},
                                                   {":scheme", "http"},
                                                   {":authority", "d"},
                                                   {":path", "/t.T/Upper"},
                                                   {"te", "trailers"},
                                                   {"content-type", "application/grpc"}});
            try {
                co_await stream->write(part);
                co_await pause_for(50ms);
                if (stream->is_closed()) was_refused = true;
            } catch (const Error&) {
                was_refused = true;
            }
        };
        for (int number = 0; number < 12 && !was_refused; ++number) co_await begin();
        EXPECT_TRUE(was_refused);
        EXPECT_EQ(co_await call(*client, "/t.T/Upper", "abc"), "ABC");
    });
}

TEST_F(ServerTest, AFailureSaysWhatAndHow) {
    with_client([&]() -> asio::awaitable<void> {
        const Status failed = co_await status_of_call("/t.T/Fail", "x");
        EXPECT_EQ(failed.code, Code::unknown);
        EXPECT_EQ(failed.message, "exit code: 3\n100 %");
        EXPECT_EQ(failed.details, std::string("\0\1", 2));
        EXPECT_EQ((co_await status_of_call("/t.T/Nothing", "x")).code, Code::unimplemented);
        ClientCall late(*client, "/t.T/FailLate");
        EXPECT_EQ(co_await late.read(), "one");
        try {
            (void)co_await late.read();
            ADD_FAILURE();
        } catch (const CallError& error) {
            EXPECT_EQ(error.status().code, Code::not_found);
            EXPECT_STREQ(error.what(), "no such thing");
        }
    });
}

TEST_F(ServerTest, WhoWritesToACallThatWasRefusedIsToldWhy) {
    with_client([&]() -> asio::awaitable<void> {
        ClientCall refused(*client, "/t.T/Refuse");
        try {
            for (int i = 0; i < 1000; ++i) co_await refused.write(std::string(std::size_t{64} << 10U, 'x'));
            ADD_FAILURE();
        } catch (const CallError& error) {
            EXPECT_EQ(error.status().code, Code::permission_denied);
            EXPECT_STREQ(error.what(), "not for you");
        }
    });
}

TEST_F(ServerTest, MessagesGoBothWaysAtOnce) {
    with_client([&]() -> asio::awaitable<void> {
        ClientCall talk(*client, "/t.T/Echo");
        for (int i = 0; i < 100; ++i) {
            co_await talk.write(fmt::format("message {}", i));
            EXPECT_EQ(co_await talk.read(), fmt::format("message {}", i));
        }
        talk.end();
        EXPECT_EQ(co_await talk.read(), std::nullopt);
    });
}

TEST_F(ServerTest, WhatNobodyReadsIsNotWritten) {
    with_client([&]() -> asio::awaitable<void> {
        ClientCall slow(*client, "/t.T/Large");
        slow.end();
        co_await pause_for(50ms);
        // Meanwhile the connection serves others.
        EXPECT_EQ(co_await call(*client, "/t.T/Upper", "abc"), "ABC");
        int messages = 0;
        while (auto message = co_await slow.read()) {
            EXPECT_EQ(message->size(), std::size_t{1} << 20U);
            ++messages;
        }
        EXPECT_EQ(messages, 64);
    });
}

TEST_F(ServerTest, WhoLeavesAndWhoseTimeIsOverIsCancelled) {
    with_client([&]() -> asio::awaitable<void> {
        {
            ClientCall left(*client, "/t.T/Wait");
            left.end();
            while (waiting == 0) co_await pause_for(1ms);
            EXPECT_EQ(header(left.headers(), "x-time"), "now");
        }
        while (cancelled == 0) co_await pause_for(1ms);
        EXPECT_EQ((co_await status_of_call("/t.T/Wait", "", {.metadata = {}, .timeout = 20ms})).code, Code::deadline_exceeded);
        while (cancelled == 1) co_await pause_for(1ms);
        // The server's own clock counts as well.
        ClientCall late(*client, "/t.T/Wait", {.metadata = {{"grpc-timeout", "20m"}}, .timeout = {}});
        try {
            (void)co_await late.read();
            ADD_FAILURE();
        } catch (const CallError& error) {
            EXPECT_EQ(error.status().code, Code::deadline_exceeded);
        }
        // The end of a connection ends its calls, and run() of the server comes back, or the test would not end.
        ClientCall last(*client, "/t.T/Wait");
        while (waiting < 4) co_await pause_for(1ms);
    });
    EXPECT_EQ(cancelled, 4);
}

TEST_F(ServerTest, RubbishEndsTheConnectionAndNothingElse) {
    for (const std::string& sent :
         {std::string("GET / HTTP/1.1\r\n\r\n"), std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") + std::string(100, '\xff'), std::string(),
          std::string("PRI * HT")}) {
        std::array<int, 2> pair{};
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
        ASSERT_EQ(::write(pair[1], sent.data(), sent.size()), static_cast<ssize_t>(sent.size()));
        ::shutdown(pair[1], SHUT_WR);
        run_on_loop(loop, [&]() -> asio::awaitable<void> {
            co_await services.serve(loop.get_executor(), over_socket(loop.get_executor(), Fd(pair[0])));
        });
        ::close(pair[1]);
    }
}

TEST_F(ServerTest, WhatWasReadBeforeComesFirst) {
    std::array<int, 2> pair{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
    Transport* raw = nullptr;
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        auto transport = over_socket(loop.get_executor(), Fd(pair[0]), "early");
        raw = transport.get();
        std::array<char, 3> bytes{};
        EXPECT_EQ(co_await raw->read(bytes), 3U);
        EXPECT_EQ(co_await raw->read(bytes), 2U);
        EXPECT_EQ(::write(pair[1], "late", 4), 4);
        EXPECT_EQ(co_await raw->read(bytes), 3U);
        ::close(pair[1]);
        EXPECT_EQ(co_await raw->read(bytes), 1U);
        EXPECT_EQ(co_await raw->read(bytes), 0U);
    });
}

TEST_F(ServerTest, ClientsThatGiveUpWithoutEndAreSentAway) {
    with_client([&]() -> asio::awaitable<void> {
        for (int i = 0; i < 5000 && !client->is_closed(); ++i) {
            const ClientCall left(*client, "/t.T/Echo");
            // For it to be sent.
            for (int turn = 0; turn < 5; ++turn) co_await asio::post(loop.get_executor(), asio::use_awaitable);
        }
        EXPECT_TRUE(client->is_closed());
    });
}

}  // namespace
}  // namespace grua::grpc
