#include "cli/build/session.hpp"

#include "base/files.hpp"
#include "base/id.hpp"
#include "base/test_loop.hpp"
#include "base/unix_address.hpp"
#include "build/receive_tree.hpp"
#include "build/send_tree.hpp"
#include "build/wire/content.pb.h"
#include "build/wire/session.pb.h"
#include "content/hash.hpp"
#include "grpc/client.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <array>
#include <boost/asio/detached.hpp>
#include <filesystem>
#include <thread>

namespace grua::cli {
namespace {

namespace fs = std::filesystem;
namespace session = grua::wire::session;
namespace content_wire = grua::wire::content;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

/// The engine, which calls us.
class BuildSessionTest : public testing::Test {
protected:
    BuildSessionTest() : work((fs::temp_directory_path() / ("grua-session-" + random_hex(6))).string()) { fs::create_directories(work); }
    ~BuildSessionTest() override { fs::remove_all(work); }

    template <typename Body>
    void engine(Body body) {
        BuildSession served(options, inputs, pool);
        std::array<int, 2> pair{};
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
        run_on_loop(loop, [&]() -> asio::awaitable<void> {
            const auto executor = loop.get_executor();
            asio::co_spawn(loop, served.services().serve(executor, grpc::over_socket(executor, Fd(pair[1]))), asio::detached);
            const auto connection = grpc::Http2::make(executor, grpc::over_socket(executor, Fd(pair[0])), grpc::Http2::Role::client);
            asio::co_spawn(loop, connection->run(), asio::detached);
            std::exception_ptr failure;
            try {
                co_await body(*connection);
            } catch (...) {
                failure = std::current_exception();
            }
            connection->close("the test is over");
            if (failure) std::rethrow_exception(failure);
        });
    }

    template <typename Answer, typename Request>
    static asio::awaitable<Answer> ask(grpc::Http2& connection, std::string method, Request request, grpc::CallOptions call_options = {}) {
        const std::string text = request.SerializeAsString();
        co_return grpc::Services::parse<Answer>(co_await grpc::call(connection, std::move(method), text, std::move(call_options)));
    }

    template <typename Body>
    grpc::Code refusal(Body body) {
        grpc::Code out = grpc::Code::ok;
        engine([&](grpc::Http2& connection) -> asio::awaitable<void> {
            try {
                co_await body(connection);
            } catch (const grpc::CallError& error) {
                out = error.status().code;
            }
        });
        return out;
    }

    std::string work;
    BuildOptions options;
    BuildInputs inputs;
    asio::io_context loop;
    asio::thread_pool pool{2};
};

TEST_F(BuildSessionTest, ServesWhatIsOfferedOnly) {
    const BuildSession plain(options, inputs, pool);
    EXPECT_THAT(plain.services().methods(), Contains("/grpc.health.v1.Health/Check"));
    EXPECT_THAT(plain.services().methods(), Not(Contains(HasSubstr("Secrets"))));
    EXPECT_THAT(plain.services().methods(), Not(Contains(HasSubstr("SSH"))));
    EXPECT_THAT(plain.services().methods(), Not(Contains(HasSubstr("FileSend"))));
    engine([](grpc::Http2& connection) -> asio::awaitable<void> {
        EXPECT_EQ(co_await grpc::call(connection, "/grpc.health.v1.Health/Check", {}), "\x08\x01");
    });
}

TEST_F(BuildSessionTest, AFolderIsSentAsTheBuilders) {
    fs::create_directories(work + "/context/a");
    replace_file(work + "/context/a/\xC3\xA4", "one");
    replace_file(work + "/context/b", "two");
    fs::create_directories(work + "/to");
    inputs.folders["context"].path = work + "/context";
    inputs.folders["dockerfile"].files["Dockerfile"] = "FROM a";
    engine([&](grpc::Http2& connection) -> asio::awaitable<void> {
        const char* method = "/moby.filesync.v1.FileSync/DiffCopy";
        grpc::CallOptions asked;
        asked.metadata = {{"dir-name", "context"}, {"followpaths", "a%2F%C3%A4"}, {"followpaths-encoded", "1"}};
        {
            grpc::ClientCall call(connection, method, asked);
            const auto index = co_await build::receive_tree(call, {.folder = work + "/to"}, pool, loop.get_executor());
            EXPECT_EQ(index.size(), 2U);
            EXPECT_EQ(index.at("a/\xC3\xA4").uid, 0U);
        }
        fs::create_directories(work + "/dockerfile");
        asked.metadata = {{"dir-name", "dockerfile"}, {"followpaths", "Dockerfile"}};
        grpc::ClientCall call(connection, method, asked);
        (void)co_await build::receive_tree(call, {.folder = work + "/dockerfile"}, pool, loop.get_executor());
        EXPECT_EQ(read_file(work + "/dockerfile/Dockerfile"), "FROM a");
    });
    EXPECT_EQ(refusal([&](grpc::Http2& connection) -> asio::awaitable<void> {
                  grpc::ClientCall call(connection, "/moby.filesync.v1.FileSync/DiffCopy", {.metadata = {{"dir-name", "../etc"}}});
                  (void)co_await call.read();
              }),
              grpc::Code::not_found);
}

TEST_F(BuildSessionTest, OutputsGoWhereTheyWereAskedFor) {
    options.outputs = {{.type = "local", .attributes = {}, .destination = work + "/out/deep"},
                       {.type = "tar", .attributes = {}, .destination = work + "/out.tar"},
                       {.type = "moby", .attributes = {}, .destination = ""}};
    fs::create_directories(work + "/root/bin");
    replace_file(work + "/root/bin/app", "built", 0755);
    const char* method = "/moby.filesync.v1.FileSend/DiffCopy";
    engine([&](grpc::Http2& connection) -> asio::awaitable<void> {
        {
            grpc::ClientCall call(connection, method, {.metadata = {{"buildkit-attachable-exporter-id", "0"}}});
            build::SendOptions sent;
            sent.parts.resize(1);
            sent.parts[0].folder = Root::open((work + "/root").c_str());
            co_await build::send_tree(call, std::move(sent), pool);
        }
        grpc::ClientCall call(connection, method, {.metadata = {{"buildkit-attachable-exporter-id", "1"}}});
        for (const char* each : {"some ", "bytes"}) {
            session::BytesMessage message;
            message.set_data(each);
            const std::string text = message.SerializeAsString();
            co_await call.write(text);
        }
        EXPECT_FALSE(fs::exists(work + "/out.tar"));
        call.end();
        EXPECT_FALSE(co_await call.read());
    });
    EXPECT_EQ(read_file(work + "/out/deep/bin/app"), "built");
    EXPECT_EQ(read_file(work + "/out.tar"), "some bytes");
    for (const char* id : {"2", "3", "x"})
        EXPECT_EQ(refusal([&](grpc::Http2& connection) -> asio::awaitable<void> {
                      grpc::ClientCall call(connection, method, {.metadata = {{"buildkit-attachable-exporter-id", id}}});
                      (void)co_await call.read();
                  }),
                  grpc::Code::not_found)
            << id;
}

TEST_F(BuildSessionTest, SecretsAreThoseThatWereNamed) {
    replace_file(work + "/secret", "from a file");
    ::setenv("SECRET_OF_SESSION", "from here", 1);
    options.secrets = {{.id = "a", .path = work + "/secret", .variable = {}}, {.id = "b", .path = {}, .variable = "SECRET_OF_SESSION"}};
    const std::string method = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
    engine([&](grpc::Http2& connection) -> asio::awaitable<void> {
        session::GetSecretRequest request;
        request.set_id("a");
        EXPECT_EQ((co_await ask<session::GetSecretResponse>(connection, method, request)).data(), "from a file");
        request.set_id("b");
        EXPECT_EQ((co_await ask<session::GetSecretResponse>(connection, method, request)).data(), "from here");
    });
    EXPECT_EQ(refusal([&](grpc::Http2& connection) -> asio::awaitable<void> {
                  session::GetSecretRequest request;
                  request.set_id("PATH");
                  (void)co_await ask<session::GetSecretResponse>(connection, method, request);
              }),
              grpc::Code::not_found);
    options.secrets[0].path = work + "/none";
    EXPECT_THROW(BuildSession(options, inputs, pool), Error);
}

TEST_F(BuildSessionTest, LoginsAreDockers) {
    fs::create_directories(work + "/docker");
    replace_file(work + "/docker/config.json", R"({"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},"r.example":{"auth":"eDp5"}}})");
    ::setenv("DOCKER_CONFIG", (work + "/docker").c_str(), 1);
    engine([&](grpc::Http2& connection) -> asio::awaitable<void> {
        const std::string method = "/moby.filesync.v1.Auth/Credentials";
        session::CredentialsRequest request;
        request.set_host("registry-1.docker.io");
        auto login = co_await ask<session::CredentialsResponse>(connection, method, request);
        EXPECT_EQ(login.username() + ":" + login.secret(), "u:p");
        request.set_host("r.example");
        login = co_await ask<session::CredentialsResponse>(connection, method, request);
        EXPECT_EQ(login.username() + ":" + login.secret(), "x:y");
        request.set_host("other.example");
        EXPECT_EQ((co_await ask<session::CredentialsResponse>(connection, method, request)).secret(), "");
    });
    EXPECT_EQ(refusal([](grpc::Http2& connection) -> asio::awaitable<void> {
                  (void)co_await grpc::call(connection, "/moby.filesync.v1.Auth/FetchToken", {});
              }),
              grpc::Code::unimplemented);
    ::unsetenv("DOCKER_CONFIG");
}

TEST_F(BuildSessionTest, BlobsOfALayout) {
    const std::string layout = work + "/cache";
    options.cache_to = {{.type = "local", .attributes = {{"dest", layout}}}};
    const std::string store = "local:" + layout;
    const std::string digest = content::digest_of("some bytes").text();
    const grpc::CallOptions asked{.metadata = {{"buildkit-attachable-store-id", store}}};
    const std::string service = "/containerd.services.content.v1.Content/";
    engine([&](grpc::Http2& connection) -> asio::awaitable<void> {
        {
            grpc::ClientCall call(connection, service + "Write", asked);
            content_wire::WriteContentRequest request;
            const auto exchange = [&]() -> asio::awaitable<content_wire::WriteContentResponse> {
                const std::string text = request.SerializeAsString();
                co_await call.write(text);
                co_return grpc::Services::parse<content_wire::WriteContentResponse>(*co_await call.read());
            };
            request.set_action(content_wire::WRITE_ACTION_STAT);
            request.set_ref("r");
            request.set_expected(digest);
            EXPECT_EQ((co_await exchange()).offset(), 0);
            request.set_action(content_wire::WRITE_ACTION_WRITE);
            request.set_data("some ");
            EXPECT_EQ((co_await exchange()).offset(), 5);
            content_wire::StatusRequest status;
            status.set_ref("r");
            EXPECT_EQ((co_await ask<content_wire::StatusResponse>(connection, service + "Status", status, asked)).status().offset(), 5);
            request.set_offset(5);
            request.set_data("bytes");
            (void)co_await exchange();
            request.clear_data();
            request.set_action(content_wire::WRITE_ACTION_COMMIT);
            request.set_total(10);
            EXPECT_EQ((co_await exchange()).digest(), digest);
        }
        content_wire::InfoRequest info;
        info.set_digest(digest);
        EXPECT_EQ((co_await ask<content_wire::InfoResponse>(connection, service + "Info", info, asked)).info().size(), 10);
        content_wire::ReadContentRequest read;
        read.set_digest(digest);
        read.set_offset(5);
        EXPECT_EQ((co_await ask<content_wire::ReadContentResponse>(connection, service + "Read", read, asked)).data(), "bytes");
    });
    EXPECT_FALSE(fs::exists(layout + "/ingest"));
    const auto writes = [&](const std::string& expected, const std::string& data, const std::string& in) {
        return refusal([&](grpc::Http2& connection) -> asio::awaitable<void> {
            grpc::ClientCall call(connection, service + "Write", {.metadata = {{"buildkit-attachable-store-id", in}}});
            content_wire::WriteContentRequest request;
            request.set_action(content_wire::WRITE_ACTION_COMMIT);
            request.set_ref("r");
            request.set_expected(expected);
            request.set_data(data);
            const std::string text = request.SerializeAsString();
            co_await call.write(text);
            (void)co_await call.read();
        });
    };
    EXPECT_EQ(writes(digest, "some bytes", store), grpc::Code::already_exists);
    EXPECT_EQ(writes("sha256:" + std::string(64, '0'), "x", store), grpc::Code::failed_precondition);
    EXPECT_EQ(writes("../../x", "x", store), grpc::Code::invalid_argument);
    EXPECT_EQ(writes(digest, "x", "local:/etc"), grpc::Code::not_found);
}

/// An agent that answers each request with a message of its type and one more.
class FakeAgent {
public:
    explicit FakeAgent(const std::string& path) : listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        const auto address = unix_address(path);
        EXPECT_EQ(::bind(listener_.get(), plain(*address), sizeof *address), 0);
        EXPECT_EQ(::listen(listener_.get(), 1), 0);
        thread_ = std::jthread([this] { run(); });
    }
    const std::string& asked() const { return asked_; }
    void wait() { thread_.join(); }

private:
    void run() {
        const Fd connection{::accept(listener_.get(), nullptr, nullptr)};
        std::array<char, 5> head{};
        while (::recv(connection.get(), head.data(), head.size(), MSG_WAITALL) == static_cast<ssize_t>(head.size())) {
            asked_ += fmt::format("{} ", static_cast<int>(head[4]));
            const std::array<char, 5> answer{0, 0, 0, 1, static_cast<char>(head[4] + 1)};
            EXPECT_EQ(::send(connection.get(), answer.data(), answer.size(), MSG_NOSIGNAL), static_cast<ssize_t>(answer.size()));
        }
    }
    Fd listener_;
    std::string asked_;
    std::jthread thread_;
};

TEST_F(BuildSessionTest, AnAgentSignsAndNothingElse) {
    const std::string path = work + "/agent";
    FakeAgent agent(path);
    options.agents = {{.id = "default", .socket = path}};
    engine([&](grpc::Http2& connection) -> asio::awaitable<void> {
        session::CheckAgentRequest check;
        (void)co_await ask<session::CheckAgentResponse>(connection, "/moby.sshforward.v1.SSH/CheckAgent", check);
        grpc::ClientCall call(connection, "/moby.sshforward.v1.SSH/ForwardAgent", {.metadata = {{"buildkit.ssh.id", "default"}}});
        const auto type_of = [&](char type) -> asio::awaitable<int> {
            session::BytesMessage message;
            message.set_data(std::string({0, 0, 0, 1, type}));
            const std::string text = message.SerializeAsString();
            co_await call.write(text);
            const auto answer = grpc::Services::parse<session::BytesMessage>(*co_await call.read());
            co_return answer.data().at(4);
        };
        EXPECT_EQ(co_await type_of(11), 12);
        EXPECT_EQ(co_await type_of(17), 5) << "a key is added";
        EXPECT_EQ(co_await type_of(19), 5) << "all keys are removed";
        EXPECT_EQ(co_await type_of(13), 14);
    });
    agent.wait();
    EXPECT_EQ(agent.asked(), "11 13 ");
    EXPECT_EQ(refusal([](grpc::Http2& connection) -> asio::awaitable<void> {
                  session::CheckAgentRequest check;
                  check.set_id("other");
                  (void)co_await ask<session::CheckAgentResponse>(connection, "/moby.sshforward.v1.SSH/CheckAgent", check);
              }),
              grpc::Code::invalid_argument);
    replace_file(work + "/key", "PRIVATE");
    options.agents = {{.id = "default", .socket = work + "/key"}};
    EXPECT_THROW(BuildSession(options, inputs, pool), Error);
}

}  // namespace
}  // namespace grua::cli
