#include "build/ssh_agent.hpp"

#include "base/unix_address.hpp"
#include "build/test_session.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

namespace grua::build {
namespace {

using testing::HasSubstr;
using Socket = asio::local::stream_protocol::socket;

const std::set<std::string, std::less<>> methods{"/moby.sshforward.v1.SSH/CheckAgent", "/moby.sshforward.v1.SSH/ForwardAgent"};

class SshAgentTest : public WithSessions {
protected:
    SshAgentTest() {
        client.add("/moby.sshforward.v1.SSH/CheckAgent", [this](grpc::ServerCall& call) -> asio::awaitable<void> {
            const auto request = grpc::Services::parse<wire::session::CheckAgentRequest>(co_await call.read_only());
            if (!agents.contains(request.id())) fail(ErrorKind::not_found, "unset ssh forward key {}", request.id());
            co_await call.write("");
        });
        // An agent that says all back, in capitals for its name.
        client.add("/moby.sshforward.v1.SSH/ForwardAgent", [this](grpc::ServerCall& call) -> asio::awaitable<void> {
            called.emplace_back(call.metadata("buildkit.ssh.id"));
            while (const auto message = co_await call.read()) {
                const auto bytes = grpc::Services::parse<wire::session::BytesMessage>(*message);
                if (bytes.data() == "quit") co_return;
                if (bytes.data() == "fail") fail(ErrorKind::unavailable, "the agent is gone");
                co_await call.write(message.value());
            }
            ended_well = true;
        });
    }
    asio::awaitable<std::unique_ptr<SshAgent>> open(std::string id = "") {
        return SshAgent::open(loop.get_executor(), group(),
                              {.directory = work + "/agents", .id = std::move(id), .uid = 12, .gid = 34, .mode = 0640});
    }
    asio::awaitable<Socket> connect(const SshAgent& agent) {
        Socket out(loop.get_executor());
        co_await out.async_connect(asio::local::stream_protocol::endpoint(agent.path()), asio::use_awaitable);
        co_return out;
    }
    static asio::awaitable<std::string> ask(Socket& socket, std::string text) {
        co_await asio::async_write(socket, asio::buffer(text), asio::use_awaitable);
        std::string out(text.size(), '\0');
        const auto [error, count] = co_await asio::async_read(socket, asio::buffer(out), asio::as_tuple(asio::use_awaitable));
        out.resize(count);
        co_return out;
    }

    std::set<std::string> agents{"default", "key"};
    std::vector<std::string> called;
    bool ended_well = false;
};

TEST_F(SshAgentTest, WhoConnectsSpeaksToTheClients) {
    with_client(
        [&]() -> asio::awaitable<void> {
            const auto agent = co_await open();
            struct stat about{};
            EXPECT_EQ(::stat(agent->path().c_str(), &about), 0);
            EXPECT_TRUE(S_ISSOCK(about.st_mode));
            EXPECT_EQ(about.st_mode & 0777U, 0640U);
            EXPECT_EQ(about.st_uid, 12U);
            EXPECT_EQ(about.st_gid, 34U);
            EXPECT_EQ(::stat(std::filesystem::path(agent->path()).parent_path().c_str(), &about), 0);
            EXPECT_EQ(about.st_mode & 0777U, 0700U);
            Socket first = co_await connect(*agent);
            Socket second = co_await connect(*agent);
            EXPECT_EQ(co_await ask(first, "one"), "one");
            EXPECT_EQ(co_await ask(second, "two"), "two");
            const std::string large(300'000, 'x');
            EXPECT_EQ(co_await ask(first, large), large);
            EXPECT_EQ(agent->connections(), 2U);
            // Who has said all still hears the rest, and the call ends with that.
            first.shutdown(Socket::shutdown_send);
            while (agent->connections() > 1) co_await settle();
            EXPECT_TRUE(ended_well);
            EXPECT_EQ(co_await ask(second, "still"), "still");
            EXPECT_EQ(co_await ask(second, "quit"), "");
            while (agent->connections() > 0) co_await settle();
            Socket third = co_await connect(*agent);
            EXPECT_EQ(co_await ask(third, "fail"), "");
            while (agent->connections() > 0) co_await settle();
            co_await agent->close();
            EXPECT_EQ(called, (std::vector<std::string>{"default", "default", "default"}));
        },
        methods);
}

TEST_F(SshAgentTest, ItEndsWithItsOwner) {
    with_client(
        [&]() -> asio::awaitable<void> {
            auto agent = co_await open("key");
            const std::string path = agent->path();
            Socket socket = co_await connect(*agent);
            EXPECT_EQ(co_await ask(socket, "one"), "one");
            agent.reset();
            EXPECT_FALSE(std::filesystem::exists(std::filesystem::path(path).parent_path()));
            EXPECT_EQ(co_await ask(socket, "two"), "");
            EXPECT_EQ(called, (std::vector<std::string>{"key"}));
            // And with the calls, though the other side does not listen.
            agent = co_await open("key");
            Socket deaf = co_await connect(*agent);
            while (agent->connections() == 0) co_await settle();
            co_await agent->close();
            EXPECT_EQ(agent->connections(), 0U);
        },
        methods);
}

TEST_F(SshAgentTest, OneThatIsNotThereIsRefused) {
    with_client(
        [&]() -> asio::awaitable<void> {
            EXPECT_THAT(co_await refusal(open("other")), HasSubstr("unset ssh forward key other"));
            agents.clear();
            EXPECT_THAT(co_await refusal(open()), HasSubstr("unset ssh forward key default"));
        },
        methods);
    with_client(
        [&]() -> asio::awaitable<void> { EXPECT_EQ(co_await refusal(open()), "no SSH key \"default\" forwarded from the client"); });
    EXPECT_FALSE(std::filesystem::exists(work + "/agents"));
}

TEST_F(SshAgentTest, ItsFolderMayHaveALongName) {
    with_client(
        [&]() -> asio::awaitable<void> {
            const std::string longer = work + "/" + std::string(150, 'x');
            const auto agent = co_await SshAgent::open(loop.get_executor(), group(), {.directory = longer, .id = {}});
            EXPECT_TRUE(std::filesystem::is_socket(agent->path()));
            co_await agent->close();
        },
        methods);
}

}  // namespace
}  // namespace grua::build
