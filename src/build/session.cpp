#include "build/session.hpp"

#include "base/log.hpp"
#include "build/wire/control.pb.h"

#include <algorithm>
#include <boost/asio/detached.hpp>

namespace grua::build {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::seconds wait_for_session = 5s;
constexpr std::chrono::seconds between_checks = 5s;
constexpr std::chrono::seconds check_time = 15s;
constexpr int checks_that_may_fail = 2;
constexpr std::string_view health_check = "/grpc.health.v1.Health/Check";
constexpr std::size_t longest_piece = std::size_t{32} << 10U;
constexpr std::size_t longest_id = 256;

class CallTransport final : public grpc::Transport {
public:
    explicit CallTransport(grpc::ServerCall& call) : call_(call) {}

    asio::awaitable<std::size_t> read(std::span<char> out) override {
        try {
            while (at_ == bytes_.size()) {
                const auto message = co_await call_.read();
                if (!message || is_closed_) co_return 0;
                bytes_ = grpc::Services::parse<wire::control::BytesMessage>(*message).data();
                at_ = 0;
            }
        } catch (const Error&) {
            co_return 0;
        }
        const std::size_t count = std::min(out.size(), bytes_.size() - at_);
        std::ranges::copy(std::string_view(bytes_).substr(at_, count), out.begin());
        at_ += count;
        co_return count;
    }

    asio::awaitable<bool> write(std::string_view bytes) override {
        try {
            while (!bytes.empty()) {
                wire::control::BytesMessage message;
                message.set_data(std::string(bytes.substr(0, longest_piece)));
                bytes.remove_prefix(message.data().size());
                co_await call_.write(message.SerializeAsString());
            }
        } catch (const Error&) {
            co_return false;
        }
        co_return true;
    }

    void close() override {
        is_closed_ = true;
        call_.stop_reading();
    }

private:
    grpc::ServerCall& call_;
    std::string bytes_;
    std::size_t at_ = 0;
    bool is_closed_ = false;
};

}  // namespace

SessionHead read_session_head(const grpc::Headers& headers) {
    SessionHead out;
    for (const auto& [name, value] : headers) {
        if (name == "x-docker-expose-session-uuid") out.id = value;
        if (name == "x-docker-expose-session-name") out.name = value;
        if (name == "x-docker-expose-session-sharedkey") out.shared_key = value;
        if (name == "x-docker-expose-session-grpc-method") out.methods.insert(value);
    }
    if (out.id.empty() || out.id.size() > longest_id)
        fail(ErrorKind::invalid_argument, "X-Docker-Expose-Session-Uuid: a session has an ID of 1 to {} bytes", longest_id);
    return out;
}

grpc::Http2& Session::connection(std::string_view method) const {
    if (!serves(method)) fail(ErrorKind::unavailable, "the client does not serve {}", method);
    if (has_ended()) fail(ErrorKind::unavailable, "the client's session has ended");
    return *connection_;
}

Sessions::Sessions(asio::any_io_executor loop, const Clock& clock, Timers& timers)
    : loop_(std::move(loop)), clock_(clock), timers_(timers), changed_(loop_) {}

asio::awaitable<void> Sessions::serve(SessionHead head, std::unique_ptr<grpc::Transport> transport) {
    if (sessions_.contains(head.id)) fail(ErrorKind::conflict, "session {} is there already", head.id);
    const std::string id = head.id;
    const auto connection = grpc::Http2::make(loop_, std::move(transport), grpc::Http2::Role::client);
    const auto session = std::make_shared<Session>(std::move(head), connection);
    sessions_.emplace(id, session);
    changed_.notify_all();
    if (session->serves(health_check)) asio::co_spawn(loop_, watch(session), asio::detached);
    co_await connection->run();
    sessions_.erase(id);
    changed_.notify_all();
}

asio::awaitable<void> Sessions::watch(SessionPtr session) {
    int failed = 0;
    while (!session->has_ended()) {
        const auto due = clock_.steady() + between_checks;
        while (!session->has_ended() && clock_.steady() < due) co_await wait_until(changed_, timers_, due);
        if (session->has_ended()) co_return;
        try {
            (void)co_await grpc::call(session->connection(health_check), std::string(health_check), {},
                                      {.metadata = {}, .timeout = check_time});
            failed = 0;
        } catch (const Error& error) {
            if (session->has_ended()) co_return;
            if (++failed <= checks_that_may_fail) continue;
            log::info("a build client's session: {}", error.what());
            session->close("the client does not answer any more");
        }
    }
}

asio::awaitable<SessionPtr> Sessions::find(std::string id) {
    if (id.empty() || given_.find(id)) fail(ErrorKind::not_found, "no active sessions");
    const auto deadline = clock_.steady() + wait_for_session;
    for (;;) {
        if (const auto found = sessions_.find(id); found != sessions_.end()) co_return found->second;
        if (clock_.steady() >= deadline)
            fail(ErrorKind::not_found, "no session {}: the client has left, or has not come within {} s", id, wait_for_session.count());
        co_await wait_until(changed_, timers_, deadline);
    }
}

std::unique_ptr<grpc::Transport> over_call(grpc::ServerCall& call) { return std::make_unique<CallTransport>(call); }

}  // namespace grua::build
