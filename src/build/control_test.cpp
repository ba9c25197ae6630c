#include "build/control.hpp"

#include "base/test_clock.hpp"
#include "base/test_loop.hpp"
#include "grpc/client.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <array>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>

namespace grua::build {
namespace {

using namespace std::chrono_literals;
using testing::Contains;
using testing::HasSubstr;

const std::string control = "/moby.buildkit.v1.Control/";
const std::string bridge = "/moby.buildkit.v1.frontend.LLBBridge/";

class FakeBuilder final : public Builder {
public:
    asio::awaitable<wire::bridge::Result> solve(Caller caller, wire::bridge::SolveRequest request) override {
        asked.push_back("solve " + request.frontend());
        if (request.frontend() == "broken") fail(ErrorKind::invalid_argument, "dockerfile parse error on line 1");
        caller.build->journal.step_started("d", "[internal] load build definition");
        wire::bridge::Result out;
        out.mutable_ref()->mutable_def()->add_def("graph of " + request.frontend());
        (*out.mutable_metadata())["containerimage.config"] = "{}";
        co_return out;
    }
    asio::awaitable<ResultPtr> make(BuildPtr build, pb::Definition definition) override {
        (void)build;
        (void)definition;
        co_return nullptr;
    }
    asio::awaitable<std::map<std::string, std::string>> finish(BuildPtr build, wire::bridge::Result result) override {
        asked.push_back("finish " + (result.ref().has_def() ? result.ref().def().def(0) : "nothing"));
        if (holds) {
            asio::steady_timer timer(co_await asio::this_coro::executor, 60s);
            try {
                co_await timer.async_wait(asio::use_awaitable);
            } catch (...) {
                asked.push_back("cancelled");
                throw;
            }
        }
        build->journal.step_completed("d", {});
        co_return std::map<std::string, std::string>{{"containerimage.digest", "sha256:1"}};
    }
    wire::worker::WorkerRecord worker() const override {
        wire::worker::WorkerRecord out;
        out.set_id("w");
        out.mutable_buildkitversion()->set_version("v0.25.1");
        return out;
    }
    std::vector<std::string> asked;
    bool holds = false;
};

class ControlTest : public testing::Test {
protected:
    ControlTest() { all.add_to(services); }

    template <typename Body>
    void with_client(Body body) {
        std::array<int, 2> pair{};
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
        run_on_loop(loop, [&]() -> asio::awaitable<void> {
            const auto executor = loop.get_executor();
            asio::co_spawn(executor, services.serve(executor, grpc::over_socket(executor, Fd(pair[0]))), asio::detached);
            client = grpc::Http2::make(executor, grpc::over_socket(executor, Fd(pair[1])), grpc::Http2::Role::client);
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
        EXPECT_EQ(all.count(), 0U);
    }

    template <typename Answer>
    asio::awaitable<Answer> ask(std::string method, const auto& request, std::string build = {}) {
        grpc::CallOptions options;
        if (!build.empty()) options.metadata = {{"buildkit-controlapi-buildid", std::move(build)}};
        co_return grpc::Services::parse<Answer>(
            co_await grpc::call(*client, std::move(method), request.SerializeAsString(), std::move(options)));
    }
    asio::awaitable<void> settle() {
        asio::steady_timer timer(loop.get_executor(), 20ms);
        co_await timer.async_wait(asio::use_awaitable);
    }
    /// A build that the client is the front end of, in the background.
    void begin(const std::string& ref) {
        wire::control::SolveRequest request;
        request.set_ref(ref);
        asio::co_spawn(loop, ask<wire::control::SolveResponse>(control + "Solve", request),
                       [this](const std::exception_ptr& failure, const wire::control::SolveResponse& answer) {
                           solved.push_back(answer);
                           try {
                               if (failure) std::rethrow_exception(failure);
                           } catch (const grpc::CallError& error) {
                               failed = error.status();
                           } catch (const std::exception& error) {
                               failed.message = error.what();
                           }
                       });
    }

    asio::io_context loop;
    TurnedClock clock;
    Sessions sessions{loop.get_executor(), clock, clock};
    FakeBuilder builder;
    Control all{loop.get_executor(), clock, clock, sessions, builder};
    grpc::Services services;
    std::shared_ptr<grpc::Http2> client;
    std::vector<wire::control::SolveResponse> solved;
    grpc::Status failed;
};

TEST_F(ControlTest, TheClientIsTheFrontEnd) {
    with_client([&]() -> asio::awaitable<void> {
        // In any order: who listens, who is the front end, who begins.
        std::vector<std::string> heard;
        bool has_heard_all = false;
        asio::co_spawn(
            loop,
            [&]() -> asio::awaitable<void> {
                wire::control::StatusRequest request;
                request.set_ref("r1");
                grpc::ClientCall status(*client, control + "Status");
                co_await status.write(request.SerializeAsString());
                status.end();
                while (auto message = co_await status.read())
                    for (const auto& each : grpc::Services::parse<wire::control::StatusResponse>(*message).vertexes())
                        heard.push_back(each.name());
                EXPECT_FALSE(grpc::header(status.headers(), "buildkit-current-timestamp").empty());
                has_heard_all = true;
            },
            asio::detached);
        co_await settle();
        begin("r1");
        const auto pong = co_await ask<wire::bridge::PongResponse>(bridge + "Ping", wire::bridge::PingRequest{}, "r1");
        EXPECT_GT(pong.llbcaps_size(), 30);
        EXPECT_EQ(pong.workers(0).id(), "w");
        wire::bridge::SolveRequest request;
        request.set_frontend("dockerfile.v0");
        request.set_allowresultreturn(true);
        request.set_allowresultarrayref(true);
        auto found = co_await ask<wire::bridge::SolveResponse>(bridge + "Solve", request, "r1");
        EXPECT_FALSE(found.result().ref().id().empty());
        EXPECT_EQ(found.result().metadata().at("containerimage.config"), "{}");
        wire::bridge::ReturnRequest back;
        *back.mutable_result() = found.result();
        back.mutable_result()->mutable_ref()->clear_def();
        (void)co_await ask<wire::bridge::ReturnResponse>(bridge + "Return", back, "r1");
        while (solved.empty() || !has_heard_all) co_await settle();
        EXPECT_EQ(solved[0].exporterresponse().at("containerimage.digest"), "sha256:1");
        EXPECT_EQ(heard.size(), 2U);
        EXPECT_THAT(builder.asked, testing::ElementsAre("solve dockerfile.v0", "finish graph of dockerfile.v0"));
    });
}

TEST_F(ControlTest, AnEmptyBuildIsAProbe) {
    with_client([&]() -> asio::awaitable<void> {
        begin("probe");
        wire::bridge::ReturnRequest back;
        back.mutable_result()->mutable_ref();
        (void)co_await ask<wire::bridge::ReturnResponse>(bridge + "Return", back, "probe");
        while (solved.empty()) co_await settle();
        EXPECT_EQ(failed.message, "");
        EXPECT_THAT(builder.asked, Contains("finish nothing"));
    });
}

TEST_F(ControlTest, AFailureOfTheFrontEndIsTheBuilds) {
    with_client([&]() -> asio::awaitable<void> {
        begin("r1");
        wire::bridge::ReturnRequest back;
        back.mutable_error()->set_code(2);
        back.mutable_error()->set_message("no such stage");
        back.mutable_error()->add_details()->set_type_url("x");
        (void)co_await ask<wire::bridge::ReturnResponse>(bridge + "Return", back, "r1");
        while (solved.empty()) co_await settle();
        EXPECT_EQ(failed.code, grpc::Code::unknown);
        EXPECT_EQ(failed.message, "no such stage");
        EXPECT_FALSE(failed.details.empty());
        // And of ours.
        wire::control::SolveRequest request;
        request.set_ref("r2");
        request.set_frontend("broken");
        std::string said;
        try {
            (void)co_await ask<wire::control::SolveResponse>(control + "Solve", request);
        } catch (const Error& error) {
            said = error.what();
        }
        EXPECT_EQ(said, "dockerfile parse error on line 1");
    });
}

TEST_F(ControlTest, WhoLeavesEndsItsBuild) {
    builder.holds = true;
    with_client([&]() -> asio::awaitable<void> {
        wire::control::SolveRequest request;
        request.set_ref("r1");
        request.set_frontend("dockerfile.v0");
        {
            grpc::ClientCall left(*client, control + "Solve");
            co_await left.write(request.SerializeAsString());
            left.end();
            while (builder.asked.size() < 2) co_await settle();
            EXPECT_EQ(all.count(), 1U);
            std::string said;
            try {
                (void)co_await ask<wire::control::SolveResponse>(control + "Solve", request);
            } catch (const Error& error) {
                said = error.what();
            }
            EXPECT_EQ(said, "job ID r1 exists");
        }
        while (all.count() > 0) co_await settle();
        EXPECT_THAT(builder.asked, Contains("cancelled"));
    });
}

TEST_F(ControlTest, ACallWaitsForItsBuildALittle) {
    with_client([&]() -> asio::awaitable<void> {
        std::string said;
        asio::co_spawn(
            loop,
            [&]() -> asio::awaitable<void> {
                try {
                    (void)co_await ask<wire::bridge::PongResponse>(bridge + "Ping", wire::bridge::PingRequest{}, "never");
                } catch (const Error& error) {
                    said = error.what();
                }
            },
            asio::detached);
        co_await settle();
        clock.turn(14s);
        co_await settle();
        EXPECT_EQ(said, "");
        clock.turn(1s);
        co_await settle();
        EXPECT_EQ(said, "no such job never");
        try {
            (void)co_await ask<wire::bridge::PongResponse>(bridge + "Ping", wire::bridge::PingRequest{});
            ADD_FAILURE();
        } catch (const Error& error) {
            EXPECT_THAT(error.what(), HasSubstr("the call names no build"));
        }
        const auto workers = co_await ask<wire::control::ListWorkersResponse>(control + "ListWorkers", wire::control::ListWorkersRequest{});
        EXPECT_EQ(workers.record(0).buildkitversion().version(), "v0.25.1");
        EXPECT_EQ(co_await grpc::call(*client, "/grpc.health.v1.Health/Check", {}), "\x08\x01");
    });
}

}  // namespace
}  // namespace grua::build
