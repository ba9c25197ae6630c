#include "build/session.hpp"

#include "base/test_clock.hpp"
#include "base/test_loop.hpp"
#include "build/wire/control.pb.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <algorithm>
#include <array>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>

namespace grua::build {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr const char* health = "/grpc.health.v1.Health/Check";

/// The client's end of Control/Session.
class OverClientCall final : public grpc::Transport {
public:
    explicit OverClientCall(grpc::ClientCall& call) : call_(call) {}
    asio::awaitable<std::size_t> read(std::span<char> out) override {
        if (bytes_.empty()) {
            const auto message = co_await call_.read();
            if (!message) co_return 0;
            bytes_ = grpc::Services::parse<wire::control::BytesMessage>(*message).data();
        }
        const std::size_t count = std::min(out.size(), bytes_.size());
        std::ranges::copy(bytes_.substr(0, count), out.begin());
        bytes_.erase(0, count);
        co_return count;
    }
    asio::awaitable<bool> write(std::string_view bytes) override {
        wire::control::BytesMessage message;
        message.set_data(std::string(bytes));
        co_await call_.write(message.SerializeAsString());
        co_return true;
    }
    void close() override { call_.end(); }

private:
    grpc::ClientCall& call_;
    std::string bytes_;
};

class SessionTest : public testing::Test {
protected:
    SessionTest() {
        client.add(health, [this](grpc::ServerCall& call) -> asio::awaitable<void> {
            ++checks;
            if (!is_well) fail(ErrorKind::unavailable, "not now");
            co_await call.write(std::string("\x08\x01"));
        });
        client.add("/t.T/Secret",
                   [](grpc::ServerCall& call) -> asio::awaitable<void> { co_await call.write("of " + co_await call.read_only()); });
    }

    SessionHead head(std::string id = "s1") const {
        return {.id = std::move(id), .name = {}, .shared_key = {}, .methods = {health, "/t.T/Secret"}};
    }

    std::array<Fd, 2> pair() {
        std::array<int, 2> raw{};
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, raw.data()) != 0) fail_errno("socketpair");
        return {Fd(raw[0]), Fd(raw[1])};
    }

    /// A client that serves its session on the other end.
    Fd begin(std::string id = "s1") {
        auto [ours, theirs] = pair();
        const int number = theirs.get();
        asio::co_spawn(loop, sessions.serve(head(std::move(id)), grpc::over_socket(loop.get_executor(), std::move(ours))), asio::detached);
        asio::co_spawn(loop, client.serve(loop.get_executor(), grpc::over_socket(loop.get_executor(), std::move(theirs))), asio::detached);
        return Fd(::dup(number));
    }

    asio::awaitable<void> settle() {
        asio::steady_timer timer(loop.get_executor(), 20ms);
        co_await timer.async_wait(asio::use_awaitable);
    }

    asio::io_context loop;
    TurnedClock clock;
    Sessions sessions{loop.get_executor(), clock, clock};
    grpc::Services client;
    bool is_well = true;
    int checks = 0;
};

TEST_F(SessionTest, TheEngineCallsItsClient) {
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        const Fd end = begin();
        const SessionPtr session = co_await sessions.find("s1");
        EXPECT_EQ(co_await grpc::call(session->connection("/t.T/Secret"), "/t.T/Secret", "x"), "of x");
        EXPECT_THROW((void)session->connection("/t.T/Other"), Error);
        ::shutdown(end.get(), SHUT_RDWR);
        co_await settle();
        EXPECT_TRUE(session->has_ended());
        EXPECT_EQ(sessions.count(), 0U);
        EXPECT_THROW((void)session->connection("/t.T/Secret"), Error);
    });
}

TEST_F(SessionTest, ABuildWithoutOneWaitsForNone) {
    std::string said;
    asio::co_spawn(loop, sessions.find(""),
                   [&](const std::exception_ptr& failure, const SessionPtr&) { said = failure ? "refused" : "there"; });
    loop.poll();
    EXPECT_EQ(said, "refused");
}

TEST_F(SessionTest, ABuildWaitsForItALittle) {
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        std::string said;
        asio::co_spawn(
            loop,
            [&]() -> asio::awaitable<void> {
                try {
                    (void)co_await sessions.find("never");
                } catch (const Error& error) {
                    said = error.what();
                }
            },
            asio::detached);
        SessionPtr found;
        asio::co_spawn(loop, [&]() -> asio::awaitable<void> { found = co_await sessions.find("late"); }, asio::detached);
        co_await settle();
        clock.turn(4s);
        const Fd end = begin("late");
        co_await settle();
        EXPECT_TRUE(found);
        EXPECT_EQ(said, "");
        clock.turn(1s);
        co_await settle();
        EXPECT_THAT(said, HasSubstr("no session never"));
        ::shutdown(end.get(), SHUT_RDWR);
    });
}

TEST_F(SessionTest, OneThatDoesNotAnswerEnds) {
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        const Fd end = begin();
        const SessionPtr session = co_await sessions.find("s1");
        for (int round = 1; round <= 3; ++round) {
            clock.turn(5s);
            co_await settle();
            EXPECT_EQ(checks, round);
        }
        is_well = false;
        clock.turn(5s);
        co_await settle();
        clock.turn(5s);
        co_await settle();
        EXPECT_FALSE(session->has_ended()) << "one failure may be a busy client's";
        is_well = true;
        clock.turn(5s);
        co_await settle();
        is_well = false;
        for (int round = 0; round < 3; ++round) {
            EXPECT_FALSE(session->has_ended());
            clock.turn(5s);
            co_await settle();
        }
        EXPECT_TRUE(session->has_ended());
    });
}

TEST_F(SessionTest, ItComesThroughACallAsWell) {
    grpc::Services engine;
    engine.add("/moby.buildkit.v1.Control/Session",
               [&](grpc::ServerCall& call) -> asio::awaitable<void> { co_await sessions.serve(head("tunnelled"), over_call(call)); });
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        auto [ours, theirs] = pair();
        const auto executor = loop.get_executor();
        asio::co_spawn(loop, engine.serve(executor, grpc::over_socket(executor, std::move(ours))), asio::detached);
        const auto outer = grpc::Http2::make(executor, grpc::over_socket(executor, std::move(theirs)), grpc::Http2::Role::client);
        asio::co_spawn(loop, outer->run(), asio::detached);
        {
            grpc::ClientCall tunnel(*outer, "/moby.buildkit.v1.Control/Session");
            bool is_over = false;
            asio::co_spawn(loop, client.serve(executor, std::make_unique<OverClientCall>(tunnel)),
                           [&](const std::exception_ptr&) { is_over = true; });
            const SessionPtr session = co_await sessions.find("tunnelled");
            for (const std::size_t size : {std::size_t{0}, std::size_t{10}, std::size_t{1'000'000}}) {
                const std::string text(size, 'x');
                EXPECT_EQ(co_await grpc::call(session->connection("/t.T/Secret"), "/t.T/Secret", text), "of " + text);
            }
            session->close("the build is over");
            while (!is_over) co_await settle();
        }
        outer->close("the test is over");
        co_await settle();
        EXPECT_EQ(sessions.count(), 0U);
    });
}

TEST_F(SessionTest, ItsHeadIsRead) {
    const SessionHead read = read_session_head({{"host", "x"},
                                                {"x-docker-expose-session-uuid", "abc"},
                                                {"x-docker-expose-session-sharedkey", "b:1"},
                                                {"x-docker-expose-session-grpc-method", "/a/B"},
                                                {"x-docker-expose-session-grpc-method", "/c/D"}});
    EXPECT_EQ(read.id, "abc");
    EXPECT_EQ(read.shared_key, "b:1");
    EXPECT_EQ(read.methods.size(), 2U);
    EXPECT_THROW((void)read_session_head({}), Error);
    EXPECT_THROW((void)read_session_head({{"x-docker-expose-session-uuid", std::string(300, 'x')}}), Error);
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        const Fd end = begin();
        (void)co_await sessions.find("s1");
        auto [ours, theirs] = pair();
        bool is_refused = false;
        try {
            co_await sessions.serve(head(), grpc::over_socket(loop.get_executor(), std::move(ours)));
        } catch (const Error& error) {
            is_refused = error.kind() == ErrorKind::conflict;
        }
        EXPECT_TRUE(is_refused);
        ::shutdown(end.get(), SHUT_RDWR);
    });
}

}  // namespace
}  // namespace grua::build
