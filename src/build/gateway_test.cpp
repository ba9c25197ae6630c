// Front ends as programs that somebody else runs: what is run is a coroutine with the program's end of the streams, the clock is turned.
#include "build/gateway.hpp"

#include "base/test_clock.hpp"
#include "base/test_loop.hpp"
#include "build/control.hpp"
#include "grpc/client.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>

namespace grua::build {
namespace {

using namespace std::chrono_literals;
using testing::Contains;
using testing::HasSubstr;

const std::string bridge = "/moby.buildkit.v1.frontend.LLBBridge/";

class NoBuilder final : public Builder {
public:
    asio::awaitable<wire::bridge::Result> solve(Caller, wire::bridge::SolveRequest request) override {
        wire::bridge::Result out;
        *out.mutable_ref()->mutable_def() = request.definition();
        co_return out;
    }
    asio::awaitable<ResultPtr> make(BuildPtr, pb::Definition) override { co_return nullptr; }
    asio::awaitable<std::map<std::string, std::string>> finish(BuildPtr, wire::bridge::Result) override {
        co_return std::map<std::string, std::string>{};
    }
    wire::worker::WorkerRecord worker() const override { return {}; }
};

/// The program's side.
class Program {
public:
    Program(const asio::any_io_executor& loop, Fd streams) {
        connection_ = grpc::Http2::make(loop, grpc::over_socket(loop, std::move(streams)), grpc::Http2::Role::client);
        asio::co_spawn(loop, connection_->run(), asio::detached);
    }
    ~Program() { connection_->close("the program has ended"); }

    asio::awaitable<void> ping() { (void)co_await grpc::call(*connection_, bridge + "Ping", {}); }
    asio::awaitable<void> give_back(std::string id) {
        wire::bridge::ReturnRequest request;
        request.mutable_result()->mutable_ref()->set_id(id);
        (void)co_await grpc::call(*connection_, bridge + "Return", request.SerializeAsString());
    }
    asio::awaitable<void> give_error(std::string text) {
        wire::bridge::ReturnRequest request;
        request.mutable_error()->set_code(2);
        request.mutable_error()->set_message(std::move(text));
        (void)co_await grpc::call(*connection_, bridge + "Return", request.SerializeAsString());
    }
    asio::awaitable<std::string> solve(std::string graph) {
        wire::bridge::SolveRequest request;
        request.mutable_definition()->add_def(std::move(graph));
        request.set_allowresultreturn(true);
        request.set_allowresultarrayref(true);
        const auto answer = grpc::Services::parse<wire::bridge::SolveResponse>(
            co_await grpc::call(*connection_, bridge + "Solve", request.SerializeAsString()));
        co_return answer.result().ref().id();
    }

private:
    std::shared_ptr<grpc::Http2> connection_;
};

class GatewayTest : public testing::Test {
protected:
    using Play = std::function<asio::awaitable<int>(Fd streams)>;

    GatewayTest() {
        const FindCaller find = [this](const grpc::ServerCall&) -> asio::awaitable<Caller> {
            co_return Caller{.build = build, .front = front};
        };
        add_bridge(services, find, builder);
    }

    /// What `play` returns is the exit code. `turned`: how far the clock goes once the program waits.
    std::string outcome(Play play, std::chrono::seconds turned = 0s) {
        FrontEndProgram program{.name = "it", .request = {}, .run = {}, .front = front, .times = {}};
        program.run = [this, play](engine::StepRequest asked) -> asio::awaitable<engine::StepEnd> {
            engine::StepEnd end;
            try {
                end.exit_code = co_await play(std::move(asked.streams));
            } catch (...) {
                was_ended = true;
                throw;
            }
            co_return end;
        };
        std::string out;
        run_on_loop(loop, [&]() -> asio::awaitable<void> {
            if (turned > 0s) asio::co_spawn(loop, turn(turned), asio::detached);
            try {
                const wire::bridge::Result result = co_await run_program(std::move(program), services, loop.get_executor(), clock, clock);
                out = "result " + (result.ref().def().def_size() > 0 ? result.ref().def().def(0) : "without a graph");
            } catch (const std::exception& error) {
                out = error.what();
            }
        });
        return out;
    }
    asio::awaitable<void> turn(std::chrono::seconds by) {
        co_await settle();
        clock.turn(by - 1s);
        co_await settle();
        EXPECT_FALSE(was_ended) << "too soon";
        clock.turn(1s);
    }
    asio::awaitable<void> settle() {
        asio::steady_timer timer(loop, 50ms);
        co_await timer.async_wait(asio::use_awaitable);
    }
    asio::awaitable<void> sleep() {
        asio::steady_timer timer(loop, 60s);
        co_await timer.async_wait(asio::use_awaitable);
    }

    asio::io_context loop;
    TurnedClock clock;
    NoBuilder builder;
    BuildPtr build = std::make_shared<Build>(loop.get_executor(), clock, wire::control::SolveRequest{});
    FrontPtr front = std::make_shared<Front>(1, Front::Definitions{});
    grpc::Services services;
    bool was_ended = false;
};

TEST_F(GatewayTest, WhatItReturnsIsTheResult) {
    EXPECT_EQ(outcome([&](Fd streams) -> asio::awaitable<int> {
                  Program program(loop.get_executor(), std::move(streams));
                  co_await program.ping();
                  co_await program.give_back(co_await program.solve("the graph"));
                  co_return 0;
              }),
              "result the graph");
}

TEST_F(GatewayTest, WhatItReturnsAsAnErrorIsThat) {
    EXPECT_EQ(outcome([&](Fd streams) -> asio::awaitable<int> {
                  Program program(loop.get_executor(), std::move(streams));
                  co_await program.give_error("it cannot be");
                  co_return 1;
              }),
              "it cannot be");
}

TEST_F(GatewayTest, ItsEndIsSaidWhereItHasNoResult) {
    EXPECT_EQ(outcome([](Fd) -> asio::awaitable<int> { co_return 0; }), "front end it: it has ended without a result");
    EXPECT_EQ(outcome([](Fd) -> asio::awaitable<int> { co_return 7; }), "front end it: it has ended with exit code 7");
    EXPECT_EQ(outcome([](Fd) -> asio::awaitable<int> {
                  fail(ErrorKind::system, "it could not be started");
                  co_return 0;
              }),
              "front end it: it could not be started");
}

TEST_F(GatewayTest, AResultWithAnExitCodeIsNone) {
    EXPECT_EQ(outcome([&](Fd streams) -> asio::awaitable<int> {
                  Program program(loop.get_executor(), std::move(streams));
                  co_await program.give_back({});
                  co_return 3;
              }),
              "front end it: it has ended with exit code 3");
}

TEST_F(GatewayTest, AResultThatItWasNotGivenIsRefused) {
    std::string said;
    EXPECT_EQ(outcome([&](Fd streams) -> asio::awaitable<int> {
                  Program program(loop.get_executor(), std::move(streams));
                  try {
                      co_await program.give_back("nobody");
                  } catch (const Error& error) {
                      said = error.what();
                  }
                  co_return 0;
              }),
              "front end it: it has ended without a result");
    EXPECT_EQ(said, "return reference nobody not found");
}

TEST_F(GatewayTest, OneThatSaysNothingIsEnded) {
    EXPECT_EQ(outcome(
                  [&](Fd streams) -> asio::awaitable<int> {
                      co_await sleep();
                      co_return streams.get();
                  },
                  60s),
              "front end it: it has not said anything for 60 s");
    EXPECT_TRUE(was_ended);
}

TEST_F(GatewayTest, OneThatSpeaksMayTakeItsTime) {
    EXPECT_EQ(outcome(
                  [&](Fd streams) -> asio::awaitable<int> {
                      Program program(loop.get_executor(), std::move(streams));
                      co_await program.ping();
                      co_await settle();
                      co_await settle();
                      co_await settle();
                      co_await program.give_back({});
                      co_return 0;
                  },
                  3600s),
              "result without a graph");
    EXPECT_FALSE(was_ended);
}

TEST_F(GatewayTest, OneThatDoesNotSpeakTheProtocolIsEnded) {
    EXPECT_EQ(outcome(
                  [&](Fd streams) -> asio::awaitable<int> {
                      const std::string rubbish(1000, '?');
                      EXPECT_EQ(::write(streams.get(), rubbish.data(), rubbish.size()), 1000);
                      co_await sleep();
                      co_return 0;
                  },
                  10s),
              "front end it: it has ended its connection without a result");
    EXPECT_TRUE(was_ended);
}

TEST_F(GatewayTest, OneThatDoesNotGoIsEndedAndItsResultCounts) {
    EXPECT_EQ(outcome(
                  [&](Fd streams) -> asio::awaitable<int> {
                      Program program(loop.get_executor(), std::move(streams));
                      co_await program.give_back({});
                      co_await sleep();
                      co_return 0;
                  },
                  10s),
              "result without a graph");
    EXPECT_TRUE(was_ended);
}

TEST_F(GatewayTest, WhoLeavesEndsIt) {
    bool has_left = false;
    asio::cancellation_signal leave;
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        FrontEndProgram program{.name = "it", .request = {}, .run = {}, .front = front, .times = {}};
        program.run = [this](engine::StepRequest asked) -> asio::awaitable<engine::StepEnd> {
            const Fd streams = std::move(asked.streams);
            try {
                co_await sleep();
            } catch (...) {
                was_ended = true;
                throw;
            }
            co_return engine::StepEnd{};
        };
        asio::co_spawn(loop, run_program(std::move(program), services, loop.get_executor(), clock, clock),
                       asio::bind_cancellation_slot(leave.slot(), [&](const std::exception_ptr& failure, const wire::bridge::Result&) {
                           EXPECT_TRUE(failure);
                           has_left = true;
                       }));
        co_await settle();
        leave.emit(asio::cancellation_type::terminal);
        co_await settle();
    });
    EXPECT_TRUE(has_left && was_ended);
}

TEST_F(GatewayTest, WhatAFrontEndMayBeGivenIsBounded) {
    const auto keep = [&](std::size_t bytes) {
        wire::bridge::Result result;
        result.mutable_ref()->mutable_def()->add_def(std::string(bytes, 'x'));
        front->keep(result);
    };
    for (std::size_t at = 0; at < 63; ++at) keep(std::size_t{1} << 20U);
    EXPECT_THROW(keep(std::size_t{2} << 20U), Error);
    for (std::size_t at = 0; at < Front::most_warnings; ++at) front->count_warning();
    EXPECT_THROW(front->count_warning(), Error);
}

TEST(FrontEndImage, ItsEnvironmentIsBuildKits) {
    oci::ImageConfig image;
    image.config.env = {"PATH=/bin", "A=b"};
    wire::worker::WorkerRecord worker;
    worker.set_id("w");
    worker.add_platforms()->set_os("linux");
    worker.mutable_platforms(0)->set_architecture("amd64");
    const auto env =
        front_end_environment(image, {.source = "s", .options = {{"cmdline", "s a=b"}, {"source", "s"}}, .inputs = {}}, "session", worker);
    for (const char* each : {"PATH=/bin", "A=b", "BUILDKIT_FRONTEND_OPT_0=cmdline=s a=b", "BUILDKIT_FRONTEND_OPT_1=source=s",
                             "BUILDKIT_SESSION_ID=session", "BUILDKIT_EXPORTEDPRODUCT=grua"})
        EXPECT_THAT(env, Contains(each));
    EXPECT_THAT(
        env,
        Contains(HasSubstr("BUILDKIT_WORKERS=[{\"id\":\"w\",\"labels\":{},\"platforms\":[{\"architecture\":\"amd64\",\"os\":\"linux\"}]")));
}

TEST(FrontEndImage, WhatABuildNeedsItHasToSayItCan) {
    oci::ImageConfig image;
    const auto check = [&](const std::string& needed, bool has_inputs) -> std::string {
        GatewayRequest request{.source = "s", .options = {{"frontend.caps", needed}}, .inputs = {}};
        if (has_inputs) request.inputs["one"] = {};
        try {
            check_front_end_abilities(image, request);
        } catch (const grpc::CallError& error) {
            return error.what();
        }
        return "fine";
    };
    EXPECT_EQ(check("", false), "fine");
    EXPECT_EQ(check("a+forward", false), "front end s: unsupported frontend capability a");
    EXPECT_EQ(check("", true), "front end s: unsupported frontend capability moby.buildkit.frontend.inputs");
    image.config.labels["moby.buildkit.frontend.caps"] = "a,moby.buildkit.frontend.inputs+x";
    EXPECT_EQ(check("a+forward", true), "fine");
    EXPECT_EQ(check("a,b", true), "front end s: unsupported frontend capability b");
}

}  // namespace
}  // namespace grua::build
