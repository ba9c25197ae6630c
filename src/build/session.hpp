// What a client of a build serves to us while it lasts: its files, secrets, credentials. The engine is the one that calls.
#pragma once

#include "base/clock.hpp"
#include "build/given_sessions.hpp"
#include "grpc/client.hpp"
#include "grpc/server.hpp"

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>

namespace grua::build {

/// Names in lower case, as in a request's headers or a call's metadata.
struct SessionHead {
    std::string id;
    std::string name;
    std::string shared_key;                      ///< Of a client's folder; empty where it has none.
    std::set<std::string, std::less<>> methods;  ///< "/moby.filesync.v1.FileSync/DiffCopy"
};

/// Throws Error(invalid_argument) where it names no session.
SessionHead read_session_head(const grpc::Headers& headers);

/// Loop only.
class Session {
public:
    Session(SessionHead head, std::shared_ptr<grpc::Http2> connection) : head_(std::move(head)), connection_(std::move(connection)) {}

    const SessionHead& head() const noexcept { return head_; }
    bool has_ended() const noexcept { return connection_->is_closed(); }
    bool serves(std::string_view method) const { return head_.methods.contains(method); }

    /// For calls. Throws Error(unavailable) where it has ended, or does not serve the method.
    grpc::Http2& connection(std::string_view method) const;
    void close(std::string why) { connection_->close(std::move(why)); }

private:
    SessionHead head_;
    std::shared_ptr<grpc::Http2> connection_;
};
using SessionPtr = std::shared_ptr<Session>;

/// Those that are there. Loop only; outlives what it serves.
class Sessions {
public:
    Sessions(asio::any_io_executor loop, const Clock& clock, Timers& timers);

    /// Until the client ends it, or does not say any more that it is well. Throws Error(conflict) where there is one by this ID.
    asio::awaitable<void> serve(SessionHead head, std::unique_ptr<grpc::Transport> transport);

    /// A build may come before its session, a little. Throws Error(not_found), at once for one that is given.
    asio::awaitable<SessionPtr> find(std::string id);

    std::size_t count() const noexcept { return sessions_.size(); }

    /// Those that no client has.
    GivenSessions& given() noexcept { return given_; }

private:
    asio::awaitable<void> watch(SessionPtr session);

    asio::any_io_executor loop_;
    const Clock& clock_;
    Timers& timers_;
    Condition changed_;
    std::map<std::string, SessionPtr, std::less<>> sessions_;
    GivenSessions given_;
};

/// A connection within a call of Control/Session: messages of bytes either way. `call` outlives it.
std::unique_ptr<grpc::Transport> over_call(grpc::ServerCall& call);

}  // namespace grua::build
