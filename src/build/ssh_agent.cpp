#include "build/ssh_agent.hpp"

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "base/spare_descriptor.hpp"
#include "base/unix_address.hpp"
#include "build/wire/session.pb.h"
#include "grpc/client.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>
#include <list>

namespace grua::build {
namespace {

using namespace std::chrono_literals;
using Socket = asio::local::stream_protocol::socket;

constexpr auto quiet = asio::as_tuple(asio::use_awaitable);
constexpr std::string_view check_method = "/moby.sshforward.v1.SSH/CheckAgent";
constexpr std::string_view forward_method = "/moby.sshforward.v1.SSH/ForwardAgent";
constexpr std::string_view id_field = "buildkit.ssh.id";
constexpr const char* default_id = "default";
constexpr const char* socket_name = "agent";
constexpr std::size_t connections_limit = 64;
constexpr int backlog = 64;
constexpr std::size_t piece_size = std::size_t{32} << 10U;
constexpr std::chrono::milliseconds shortage_pause = 100ms;

asio::awaitable<void> check_agent(SessionPtr session, std::string id) {
    if (!session->serves(check_method)) fail(ErrorKind::not_found, "no SSH key {:?} forwarded from the client", id);
    wire::session::CheckAgentRequest request;
    request.set_id(id);
    try {
        (void)co_await grpc::call(session->connection(check_method), std::string(check_method), request.SerializeAsString());
    } catch (const grpc::CallError& error) {
        if (error.status().code == grpc::Code::unimplemented) fail(ErrorKind::not_found, "no SSH key {:?} forwarded from the client", id);
        throw;
    }
}

/// Bound by its folder's descriptor, so that the folder's path may be of any length.
Fd listen_in(const std::string& folder, const SshAgentOptions& options) {
    const Fd directory{::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (!directory) fail_errno("open {}", folder);
    Fd out{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (!out) fail_errno("make a socket");
    const auto address = unix_address(fmt::format("/proc/self/fd/{}/{}", directory.get(), socket_name));
    if (::bind(out.get(), plain(*address), sizeof *address) != 0) fail_errno("bind {}/{}", folder, socket_name);
    if (::fchownat(directory.get(), socket_name, options.uid, options.gid, AT_SYMLINK_NOFOLLOW) != 0)
        fail_errno("chown {}/{}", folder, socket_name);
    if (::fchmodat(directory.get(), socket_name, options.mode & 0777U, 0) != 0) fail_errno("chmod {}/{}", folder, socket_name);
    if (::listen(out.get(), backlog) != 0) fail_errno("listen at {}/{}", folder, socket_name);
    return out;
}

void remove_folder(const std::string& folder) noexcept {
    const std::string socket = folder + "/" + socket_name;
    const auto told = [](const std::string& path, int result) {
        if (result != 0 && errno != ENOENT) log::warn("remove an agent's socket: {}: {}", path, std::generic_category().message(errno));
    };
    told(socket, ::unlink(socket.c_str()));
    told(folder, ::rmdir(folder.c_str()));
}

}  // namespace

struct SshAgent::State : std::enable_shared_from_this<SshAgent::State> {
    /// One client of the socket, and its call.
    struct Connection {
        explicit Connection(Socket from) : socket(std::move(from)) {}
        Socket socket;
        std::unique_ptr<grpc::ClientCall> call;
        asio::cancellation_signal end_downwards;  ///< From the call to the socket.
        asio::cancellation_signal end_upwards;
        bool is_up_over = false;
    };
    using ConnectionPtr = std::shared_ptr<Connection>;

    State(asio::any_io_executor on, SessionPtr its_session, std::string its_id)
        : loop(std::move(on)), session(std::move(its_session)), id(std::move(its_id)), acceptor(loop), changed(loop) {}

    void begin() {
        is_accepting = true;
        asio::co_spawn(loop, accept_all(shared_from_this()), asio::detached);
    }
    void end() {
        is_closed = true;
        boost::system::error_code ignored;
        acceptor.close(ignored);
        for (const ConnectionPtr& each : connections) each->end_downwards.emit(asio::cancellation_type::terminal);
        changed.notify_all();
    }

    static asio::awaitable<void> accept_all(std::shared_ptr<State> self);
    static asio::awaitable<void> serve(std::shared_ptr<State> self, ConnectionPtr connection);
    static asio::awaitable<void> carry_down(ConnectionPtr connection);
    static asio::awaitable<void> carry_up(ConnectionPtr connection);

    asio::any_io_executor loop;
    SessionPtr session;
    std::string id;
    asio::local::stream_protocol::acceptor acceptor;
    Condition changed;  ///< A connection has ended, or all are to.
    std::list<ConnectionPtr> connections;
    bool is_accepting = false;
    bool is_closed = false;
};

asio::awaitable<void> SshAgent::State::accept_all(std::shared_ptr<State> self) {
    while (!self->is_closed) {
        if (self->connections.size() >= connections_limit) {
            co_await self->changed.wait();
            continue;
        }
        auto [error, socket] = co_await self->acceptor.async_accept(quiet);
        if (error && is_shortage(error.value())) {
            co_await self->changed.wait(Condition::Clock::now() + shortage_pause);
            continue;
        }
        if (error && !self->acceptor.is_open()) break;
        if (error) continue;
        const auto connection = std::make_shared<Connection>(std::move(socket));
        self->connections.push_back(connection);
        asio::co_spawn(self->loop, serve(self, connection),
                       asio::bind_cancellation_slot(connection->end_downwards.slot(), [self, connection](const std::exception_ptr&) {
                           self->connections.remove(connection);
                           self->changed.notify_all();
                       }));
    }
    self->is_accepting = false;
    self->changed.notify_all();
}

/// From the first byte to where both ways have ended. What went wrong is the business of those who speak.
asio::awaitable<void> SshAgent::State::serve(std::shared_ptr<State> self, ConnectionPtr connection) {
    bool has_begun = false;
    try {
        connection->call = std::make_unique<grpc::ClientCall>(self->session->connection(forward_method), std::string(forward_method),
                                                              grpc::CallOptions{.metadata = {{std::string(id_field), self->id}}});
        asio::co_spawn(self->loop, carry_up(connection),
                       asio::bind_cancellation_slot(connection->end_upwards.slot(), [self, connection](const std::exception_ptr& failure) {
                           connection->is_up_over = true;
                           if (failure) connection->end_downwards.emit(asio::cancellation_type::terminal);
                           self->changed.notify_all();
                       }));
        has_begun = true;
        co_await carry_down(connection);
    } catch (const std::exception& error) {
        log::debug("an agent of SSH: {}", error.what());
    }
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    boost::system::error_code ignored;
    connection->socket.close(ignored);
    connection->end_upwards.emit(asio::cancellation_type::terminal);
    while (has_begun && !connection->is_up_over) co_await self->changed.wait();
    connection->call.reset();
}

asio::awaitable<void> SshAgent::State::carry_down(ConnectionPtr connection) {
    while (const auto message = co_await connection->call->read()) {
        const auto bytes = grpc::Services::parse<wire::session::BytesMessage>(*message);
        const auto [error, count] = co_await asio::async_write(connection->socket, asio::buffer(bytes.data()), quiet);
        if (error) co_return;
    }
}

asio::awaitable<void> SshAgent::State::carry_up(ConnectionPtr connection) {
    std::array<char, piece_size> piece{};
    for (;;) {
        const auto [error, count] = co_await connection->socket.async_read_some(asio::buffer(piece), quiet);
        if (error == asio::error::eof) break;
        if (error) fail(ErrorKind::unavailable, "{}", error.message());
        wire::session::BytesMessage message;
        message.set_data(piece.data(), count);
        co_await connection->call->write(message.SerializeAsString());
    }
    connection->call->end();
}

SshAgent::SshAgent(std::shared_ptr<State> state, std::string folder)
    : state_(std::move(state)), folder_(std::move(folder)), path_(folder_ + "/" + socket_name) {}

asio::awaitable<std::unique_ptr<SshAgent>> SshAgent::open(asio::any_io_executor loop, SessionGroup group, SshAgentOptions options) {
    const std::string id = options.id.empty() ? default_id : options.id;
    SessionPtr found;
    co_await ask_sessions(std::move(group), [&](SessionPtr session) -> asio::awaitable<void> {
        co_await check_agent(session, id);
        found = std::move(session);
    });
    make_directories(options.directory, 0700);
    std::string folder = fmt::format("{}/{}", options.directory, random_hex(8));
    if (::mkdir(folder.c_str(), 0700) != 0) fail_errno("make folder {}", folder);
    std::unique_ptr<SshAgent> out(new SshAgent(std::make_shared<State>(loop, std::move(found), id), std::move(folder)));
    Fd listener = listen_in(out->folder_, options);
    out->state_->acceptor.assign(asio::local::stream_protocol(), listener.get());
    (void)listener.release();
    out->state_->begin();
    co_return out;
}

SshAgent::~SshAgent() {
    state_->end();
    remove_folder(folder_);
}

std::size_t SshAgent::connections() const noexcept { return state_->connections.size(); }

asio::awaitable<void> SshAgent::close() {
    const auto state = state_;
    state->end();
    while (state->is_accepting || !state->connections.empty()) co_await state->changed.wait();
}

}  // namespace grua::build
