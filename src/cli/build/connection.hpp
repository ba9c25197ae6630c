// Connections to the engine's builder: requests of the API that become HTTP/2, in which either side may be the one that calls.
#pragma once

#include "client/endpoint.hpp"
#include "grpc/http2.hpp"
#include "grpc/server.hpp"

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace grua::cli {

struct Upgraded {
    Fd socket;
    std::string early;  ///< What was read of it already.
};

/// `POST path`, with the upgrade to h2c. Blocks. Throws client::ApiError where the daemon has none, Error(unavailable) where it is not
/// there.
Upgraded upgrade(const client::Endpoint& where, const std::string& path, std::vector<std::pair<std::string, std::string>> headers = {});

/// Calls that we make, on /grpc. Loop only.
class BuildCalls {
public:
    BuildCalls(const client::Endpoint& where, const asio::any_io_executor& loop);
    BuildCalls(const BuildCalls&) = delete;
    BuildCalls& operator=(const BuildCalls&) = delete;
    ~BuildCalls();

    grpc::Http2& http2() const noexcept { return *http2_; }

private:
    std::shared_ptr<grpc::Http2> http2_;
};

/// One call to its end; `each` for every message of the answer. Blocks. Throws grpc::CallError.
void call_engine(const client::Endpoint& where, std::string method, std::string request,
                 const std::function<void(const std::string& message)>& each = {});

/// Calls that are made of us, on /session, for as long as this lives. Loop only; the services outlive it.
class BuildSessionLink {
public:
    BuildSessionLink(const client::Endpoint& where, const asio::any_io_executor& loop, const grpc::Services& services,
                     const std::string& id, const std::string& shared_key);
    BuildSessionLink(const BuildSessionLink&) = delete;
    BuildSessionLink& operator=(const BuildSessionLink&) = delete;
    ~BuildSessionLink();

    /// No call of theirs runs any more then.
    asio::awaitable<void> end();

private:
    struct State;
    Fd socket_;
    std::shared_ptr<State> state_;
};

}  // namespace grua::cli
