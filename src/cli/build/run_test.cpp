#include "cli/build/run.hpp"

#include "base/encoding.hpp"
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/unix_address.hpp"
#include "build/receive_tree.hpp"
#include "build/send_tree.hpp"
#include "build/wire/bridge.pb.h"
#include "build/wire/control.pb.h"
#include "build/wire/errors.pb.h"
#include "cli/build/cache.hpp"
#include "grpc/client.hpp"
#include "grpc/server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>
#include <filesystem>
#include <thread>

namespace grua::cli {
namespace {

namespace fs = std::filesystem;
namespace control = grua::wire::control;
namespace bridge = grua::wire::bridge;
using testing::Contains;
using testing::HasSubstr;

/// An engine on a socket: /grpc and /session as they are, and a builder that does what the test says.
class FakeEngine {
public:
    explicit FakeEngine(const std::string& path) : listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        const auto address = unix_address(path);
        EXPECT_EQ(::bind(listener_.get(), plain(*address), sizeof *address), 0);
        EXPECT_EQ(::listen(listener_.get(), 8), 0);
        add_services();
        acceptor_ = std::jthread([this] { accept(); });
        thread_ = std::jthread([this] {
            const auto guard = asio::make_work_guard(loop_);
            loop_.run();
        });
    }
    ~FakeEngine() {
        ::shutdown(listener_.get(), SHUT_RDWR);
        acceptor_.join();
        loop_.stop();
        thread_.join();
    }

    using Solve = std::function<asio::awaitable<Words>(FakeEngine&, control::SolveRequest)>;
    Solve solve = [](FakeEngine&, control::SolveRequest) -> asio::awaitable<Words> { co_return Words{}; };
    Words metadata;                               ///< Of the front end's answer.
    std::vector<control::StatusResponse> status;  ///< What a build tells.
    control::SolveRequest asked;
    std::vector<std::string> methods;  ///< Of the session.

    asio::thread_pool& pool() { return pool_; }
    asio::any_io_executor loop() { return loop_.get_executor(); }
    asio::awaitable<grpc::Http2*> session() {
        while (!session_) co_await changed_.wait();
        co_return session_.get();
    }

private:
    void accept() {
        for (;;) {
            Fd socket{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
            if (!socket) return;
            std::string head;
            char byte = 0;
            while (!head.ends_with("\r\n\r\n") && ::recv(socket.get(), &byte, 1, 0) == 1) head += byte;
            const std::string answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
            EXPECT_EQ(::send(socket.get(), answer.data(), answer.size(), MSG_NOSIGNAL), static_cast<ssize_t>(answer.size()));
            asio::post(loop_, [this, head, shared = std::make_shared<Fd>(std::move(socket))] {
                auto transport = grpc::over_socket(loop(), std::move(*shared));
                if (head.starts_with("POST /grpc ")) {
                    asio::co_spawn(loop_, services_.serve(loop(), std::move(transport)), asio::detached);
                    return;
                }
                EXPECT_THAT(head, testing::StartsWith("POST /session "));
                for (std::size_t at = head.find("Grpc-Method: "); at != std::string::npos; at = head.find("Grpc-Method: ", at + 1))
                    methods.push_back(head.substr(at + 13, head.find('\r', at) - at - 13));
                session_ = grpc::Http2::make(loop(), std::move(transport), grpc::Http2::Role::client);
                asio::co_spawn(loop_, session_->run(), asio::detached);
                changed_.notify_all();
            });
        }
    }

    void add_services() {
        const std::string name = "/moby.buildkit.v1.Control/";
        services_.add_unary<control::SolveRequest>(
            name + "Solve", [this](grpc::ServerCall&, const control::SolveRequest& request) -> asio::awaitable<control::SolveResponse> {
                control::SolveResponse out;
                if (request.frontend().empty()) {
                    returned_ = false;
                    while (!returned_) co_await changed_.wait();
                    if (!request.session().empty()) asked = request;
                    is_over_ = true;
                    changed_.notify_all();
                    co_return out;
                }
                asked = request;
                is_over_ = false;
                Words answer;
                std::exception_ptr failure;
                try {
                    answer = co_await solve(*this, request);
                } catch (...) {
                    failure = std::current_exception();
                }
                is_over_ = true;
                changed_.notify_all();
                if (failure) std::rethrow_exception(failure);
                for (const auto& [key, value] : answer) (*out.mutable_exporterresponse())[key] = value;
                co_return out;
            });
        services_.add(name + "Status", [this](grpc::ServerCall& call) -> asio::awaitable<void> {
            (void)co_await call.read_only();
            call.begin({{"buildkit-current-timestamp", "2026-01-01T00:00:00Z"}});
            for (const auto& each : status) {
                const std::string text = each.SerializeAsString();
                co_await call.write(text);
            }
            while (!is_over_) co_await changed_.wait();
        });
        services_.add(name + "DiskUsage", [](grpc::ServerCall& call) -> asio::awaitable<void> {
            const auto request = grpc::Services::parse<control::DiskUsageRequest>(co_await call.read_only());
            control::DiskUsageResponse out;
            out.add_record()->set_id(request.filter(0));
            const std::string text = out.SerializeAsString();
            co_await call.write(text);
        });
        services_.add(name + "Prune", [](grpc::ServerCall& call) -> asio::awaitable<void> {
            const auto request = grpc::Services::parse<control::PruneRequest>(co_await call.read_only());
            for (const char* each : {"a", "b"}) {
                control::UsageRecord record;
                record.set_id(each);
                record.set_size(request.maxusedspace());
                const std::string text = record.SerializeAsString();
                co_await call.write(text);
            }
        });
        const std::string front = "/moby.buildkit.v1.frontend.LLBBridge/";
        services_.add_unary<bridge::PingRequest>(
            front + "Ping", [](grpc::ServerCall& call, const bridge::PingRequest&) -> asio::awaitable<bridge::PongResponse> {
                EXPECT_NE(call.metadata("buildkit-controlapi-buildid"), "");
                bridge::PongResponse out;
                auto& each = *out.add_llbcaps();
                each.set_id("exporter.image.attestations");
                each.set_enabled(true);
                co_return out;
            });
        services_.add_unary<bridge::SolveRequest>(
            front + "Solve", [this](grpc::ServerCall&, const bridge::SolveRequest& request) -> asio::awaitable<bridge::SolveResponse> {
                EXPECT_EQ(request.frontendopt().at("requestid"), "frontend.lint");
                bridge::SolveResponse out;
                for (const auto& [key, value] : metadata) (*out.mutable_result()->mutable_metadata())[key] = value;
                co_return out;
            });
        services_.add_unary<bridge::ReturnRequest>(
            front + "Return", [this](grpc::ServerCall&, const bridge::ReturnRequest&) -> asio::awaitable<bridge::ReturnResponse> {
                returned_ = true;
                changed_.notify_all();
                co_return bridge::ReturnResponse{};
            });
    }

    Fd listener_;
    asio::io_context loop_;
    asio::thread_pool pool_{2};
    Condition changed_{loop_.get_executor()};
    grpc::Services services_;
    std::shared_ptr<grpc::Http2> session_;
    bool returned_ = false;
    bool is_over_ = false;
    std::jthread thread_;
    std::jthread acceptor_;
};

class RunBuildTest : public testing::Test {
protected:
    RunBuildTest() : work((fs::temp_directory_path() / ("grua-run-" + random_hex(6))).string()) {
        fs::create_directories(work + "/context");
        replace_file(work + "/context/Dockerfile", "FROM scratch\nRUN false\n");
        replace_file(work + "/context/file", "text");
        options.context = work + "/context";
        options.progress = BuildProgress::plain;
        engine = std::make_unique<FakeEngine>(work + "/socket");
    }
    ~RunBuildTest() override {
        engine.reset();
        fs::remove_all(work);
    }

    /// The exit status; what was written is `shown` and `printed`.
    int run() {
        testing::internal::CaptureStderr();
        testing::internal::CaptureStdout();
        const int out = run_build(client::parse_endpoint("unix://" + work + "/socket"), options, false);
        printed = testing::internal::GetCapturedStdout();
        shown = testing::internal::GetCapturedStderr();
        return out;
    }

    std::string work;
    BuildOptions options;
    std::unique_ptr<FakeEngine> engine;
    std::string shown;
    std::string printed;
};

TEST_F(RunBuildTest, ABuildWithItsContextAndResult) {
    options.tags = {"app"};
    options.image_id_file = work + "/iid";
    options.metadata_file = work + "/metadata";
    options.outputs = {{.type = "local", .attributes = {}, .destination = work + "/out"}};
    options.has_output = true;
    control::StatusResponse told;
    auto& vertex = *told.add_vertexes();
    vertex.set_digest("a");
    vertex.set_name("[internal] load build definition from Dockerfile");
    vertex.mutable_started()->set_seconds(1);
    vertex.mutable_completed()->set_seconds(1);
    engine->status = {told};
    engine->solve = [&](FakeEngine& self, control::SolveRequest) -> asio::awaitable<Words> {
        grpc::Http2& session = *co_await self.session();
        fs::create_directories(work + "/came");
        {
            grpc::ClientCall call(session, "/moby.filesync.v1.FileSync/DiffCopy", {.metadata = {{"dir-name", "context"}}});
            (void)co_await build::receive_tree(call, {.folder = work + "/came"}, self.pool(), self.loop());
        }
        grpc::ClientCall call(session, "/moby.filesync.v1.FileSend/DiffCopy", {.metadata = {{"buildkit-attachable-exporter-id", "0"}}});
        build::SendOptions sent;
        sent.parts.resize(1);
        sent.parts[0].folder = Root::open((work + "/came").c_str());
        co_await build::send_tree(call, std::move(sent), self.pool());
        co_return Words{{"containerimage.digest", "sha256:abc"}};
    };
    EXPECT_EQ(run(), 0) << shown;
    EXPECT_EQ(read_file(work + "/out/file"), "text");
    EXPECT_EQ(read_file(work + "/iid"), "sha256:abc");
    EXPECT_EQ(boost::json::parse(read_file(work + "/metadata")).at("containerimage.digest").as_string(), "sha256:abc");
    EXPECT_THAT(shown, HasSubstr("#1 [internal] load build definition from Dockerfile\n#1 DONE 0.0s\n"));
    EXPECT_EQ(engine->asked.frontend(), "dockerfile.v0");
    EXPECT_EQ(engine->asked.exporters(0).type(), "local");
    EXPECT_EQ(engine->asked.frontendattrs().at("attest:provenance"), "mode=min,inline-only=true");
    EXPECT_THAT(engine->methods, Contains("/moby.filesync.v1.FileSend/DiffCopy"));
}

TEST_F(RunBuildTest, AFailureWithItsLines) {
    engine->solve = [](FakeEngine&, control::SolveRequest) -> asio::awaitable<Words> {
        grua::wire::errors::Source source;
        source.mutable_info()->set_filename("Dockerfile");
        source.mutable_info()->set_data("FROM scratch\nRUN false\n");
        source.add_ranges()->mutable_start()->set_line(2);
        grua::wire::common::Status details;
        details.add_details()->set_type_url("errdefs.Source");
        details.mutable_details(0)->set_value(source.SerializeAsString());
        throw grpc::CallError({.code = grpc::Code::unknown, .message = "process did not complete", .details = details.SerializeAsString()});
        co_return Words{};
    };
    EXPECT_EQ(run(), 1);
    EXPECT_THAT(shown, HasSubstr("Dockerfile:2\n--------------------\n   1 |     FROM scratch\n   2 | >>> RUN false\n"));
    EXPECT_THAT(shown, HasSubstr("ERROR: failed to build: failed to solve: process did not complete\n"));
}

TEST_F(RunBuildTest, QuietPrintsTheImage) {
    options.progress = BuildProgress::quiet;
    engine->solve = [](FakeEngine&, control::SolveRequest) -> asio::awaitable<Words> {
        co_return Words{{"containerimage.config.digest", "sha256:c"}, {"containerimage.digest", "sha256:d"}};
    };
    EXPECT_EQ(run(), 0);
    EXPECT_EQ(printed, "sha256:c\n");
    EXPECT_EQ(shown, "");
    EXPECT_EQ(engine->asked.exporters(0).type(), "moby");
}

TEST_F(RunBuildTest, ACheckAsksTheFrontEnd) {
    options.call = BuildCall{.name = "lint"};
    options.progress = BuildProgress::quiet;
    engine->metadata = {{"result.json", R"({"warnings":[{}]})"}, {"result.txt", "WARNING: x\n"}, {"result.statuscode", "1"}};
    EXPECT_EQ(run(), 1);
    EXPECT_EQ(printed, "Check complete, 1 warning has been found!\nWARNING: x\n");
    EXPECT_EQ(engine->asked.exporters_size(), 0);
}

TEST_F(RunBuildTest, AnEngineThatLeavesIsAFailure) {
    engine->solve = [](FakeEngine& self, control::SolveRequest) -> asio::awaitable<Words> {
        (*co_await self.session()).close("gone");
        fail(ErrorKind::unavailable, "the engine ends");
        co_return Words{};
    };
    EXPECT_EQ(run(), 1);
    EXPECT_THAT(shown, HasSubstr("ERROR: failed to build: failed to solve: the engine ends"));
}

TEST_F(RunBuildTest, TheCacheIsListedAndPruned) {
    const auto where = client::parse_endpoint("unix://" + work + "/socket");
    const auto records = list_build_cache(where, read_cache_filter({"type=regular"}));
    ASSERT_EQ(records.size(), 1U);
    EXPECT_EQ(records[0].id(), "type==regular");
    std::string removed;
    prune_build_cache(where, {}, {.most_used = 7},
                      [&](const control::UsageRecord& record) { removed += fmt::format("{}{} ", record.id(), record.size()); });
    EXPECT_EQ(removed, "a7 b7 ");
}

TEST_F(RunBuildTest, ADaemonWithoutABuilderSaysSo) {
    engine.reset();
    const std::string path = work + "/other";
    const Fd listener{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const auto address = unix_address(path);
    ASSERT_EQ(::bind(listener.get(), plain(*address), sizeof *address), 0);
    ASSERT_EQ(::listen(listener.get(), 1), 0);
    const std::jthread daemon([&] {
        const Fd socket{::accept(listener.get(), nullptr, nullptr)};
        std::string head;
        char byte = 0;
        while (!head.ends_with("\r\n\r\n") && ::recv(socket.get(), &byte, 1, 0) == 1) head += byte;
        const std::string answer = "HTTP/1.1 501 Not Implemented\r\nContent-Length: 33\r\n\r\n{\"message\":\"not implemented: it\"}\n";
        EXPECT_EQ(::send(socket.get(), answer.data(), answer.size(), MSG_NOSIGNAL), static_cast<ssize_t>(answer.size()));
    });
    testing::internal::CaptureStderr();
    EXPECT_EQ(run_build(client::parse_endpoint("unix://" + path), options, false), 1);
    EXPECT_THAT(testing::internal::GetCapturedStderr(),
                HasSubstr("ERROR: failed to build: Error response from daemon: not implemented: it"));
}

}  // namespace
}  // namespace grua::cli
