// An SSH agent of ours for the engine: connections to its socket, over calls. It may be asked for its keys and to sign, and for nothing
// else: a build must not add keys to it, or lock it.
#pragma once

#include "cli/build/options.hpp"
#include "grpc/server.hpp"

#include <map>
#include <string>
#include <vector>

namespace grua::cli {

/// Loop only; outlives its calls.
class AgentService {
public:
    /// Throws Error where one of them has no socket.
    explicit AgentService(const std::vector<BuildAgent>& agents);

    void add_to(grpc::Services& services);

private:
    const BuildAgent& find(std::string id) const;
    static asio::awaitable<void> forward(grpc::ServerCall& call, const BuildAgent& agent);

    std::map<std::string, BuildAgent> agents_;
};

}  // namespace grua::cli
