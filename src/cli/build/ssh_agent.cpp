#include "cli/build/ssh_agent.hpp"

#include "base/error.hpp"
#include "base/unix_address.hpp"
#include "build/wire/session.pb.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <array>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <memory>
#include <optional>

namespace grua::cli {
namespace {

namespace wire = grua::wire::session;
using namespace asio::experimental::awaitable_operators;

// The agents' protocol: a length of four bytes, a type, the rest (draft-miller-ssh-agent).
constexpr std::size_t length_bytes = 4;
constexpr std::size_t message_limit = std::size_t{256} << 10U;
constexpr std::size_t piece_bytes = std::size_t{32} << 10U;
constexpr char request_identities = 11;
constexpr char sign_request = 13;
constexpr std::string_view failure("\0\0\0\1\5", 5);

Fd connect_to(const std::string& path) {
    Fd out{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (!out) fail_errno("socket");
    const auto address = unix_address(path);
    if (!address) fail(ErrorKind::invalid_argument, "{}: longer than a socket's path can be", path);
    if (::connect(out.get(), plain(*address), sizeof *address) != 0) fail_errno("failed to connect to {}", path);
    return out;
}

asio::awaitable<void> say(grpc::ServerCall& call, std::string bytes) {
    wire::BytesMessage message;
    message.set_data(std::move(bytes));
    const std::string text = message.SerializeAsString();
    co_await call.write(text);
}

asio::awaitable<std::optional<std::string>> hear(grpc::ServerCall& call) {
    const auto message = co_await call.read();
    if (!message) co_return std::nullopt;
    co_return grpc::Services::parse<wire::BytesMessage>(*message).data();
}

/// The first whole message of `bytes`, with its length; nothing where it has not come.
std::optional<std::string> take_message(std::string& bytes) {
    if (bytes.size() < length_bytes) return std::nullopt;
    std::size_t size = 0;
    for (std::size_t index = 0; index < length_bytes; ++index) size = size << 8U | static_cast<unsigned char>(bytes[index]);
    if (size == 0 || size > message_limit) fail(ErrorKind::invalid_argument, "an SSH agent's message of {} bytes", size);
    if (bytes.size() < length_bytes + size) return std::nullopt;
    std::string out = bytes.substr(0, length_bytes + size);
    bytes.erase(0, out.size());
    return out;
}

asio::awaitable<std::string> answer_of(grpc::Transport& agent, std::string& bytes) {
    std::vector<char> buffer(piece_bytes);
    for (;;) {
        if (auto message = take_message(bytes)) co_return std::move(*message);
        const std::size_t count = co_await agent.read(buffer);
        if (count == 0) fail(ErrorKind::unavailable, "the SSH agent has ended the connection");
        bytes.append(buffer.data(), count);
    }
}

/// One after the other: an answer is to the request before it.
asio::awaitable<void> filter(grpc::ServerCall& call, grpc::Transport& agent) {
    std::string asked;
    std::string answered;
    while (const auto more = co_await hear(call)) {
        asked += *more;
        while (const auto message = take_message(asked)) {
            const char type = (*message)[length_bytes];
            if (type != request_identities && type != sign_request) {
                co_await say(call, std::string(failure));
                continue;
            }
            if (!co_await agent.write(*message)) fail(ErrorKind::unavailable, "the SSH agent has ended the connection");
            std::string answer = co_await answer_of(agent, answered);
            co_await say(call, std::move(answer));
        }
    }
}

asio::awaitable<void> to_agent(grpc::ServerCall& call, grpc::Transport& agent) {
    while (const auto bytes = co_await hear(call))
        if (!co_await agent.write(*bytes)) co_return;
}

asio::awaitable<void> from_agent(grpc::ServerCall& call, grpc::Transport& agent) {
    std::vector<char> buffer(piece_bytes);
    while (const std::size_t count = co_await agent.read(buffer)) co_await say(call, {buffer.data(), count});
}

}  // namespace

AgentService::AgentService(const std::vector<BuildAgent>& agents) {
    for (const BuildAgent& each : agents) {
        struct stat about{};
        if (::stat(each.socket.c_str(), &about) != 0) fail_errno("ssh agent \"{}\": {}", each.id, each.socket);
        if (!S_ISSOCK(about.st_mode))
            fail(ErrorKind::not_implemented, "not implemented: --ssh with a key ({}); start an agent and give it the key (ssh-add)",
                 each.socket);
        agents_.emplace(each.id, each);
    }
}

const BuildAgent& AgentService::find(std::string id) const {
    if (id.empty()) id = "default";
    const auto found = agents_.find(id);
    if (found == agents_.end()) fail(ErrorKind::invalid_argument, "unset ssh forward key {}", id);
    return found->second;
}

asio::awaitable<void> AgentService::forward(grpc::ServerCall& call, const BuildAgent& agent) {
    const auto connection = grpc::over_socket(co_await asio::this_coro::executor, connect_to(agent.socket));
    call.begin();
    if (!agent.is_raw) co_return co_await filter(call, *connection);
    co_await (to_agent(call, *connection) || from_agent(call, *connection));
}

void AgentService::add_to(grpc::Services& services) {
    const std::string service = "/moby.sshforward.v1.SSH/";
    services.add_unary<wire::CheckAgentRequest>(
        service + "CheckAgent",
        [this](grpc::ServerCall&, const wire::CheckAgentRequest& request) -> asio::awaitable<wire::CheckAgentResponse> {
            (void)find(request.id());
            co_return wire::CheckAgentResponse{};
        });
    services.add(service + "ForwardAgent",
                 [this](grpc::ServerCall& call) { return forward(call, find(std::string(call.metadata("buildkit.ssh.id")))); });
}

}  // namespace grua::cli
