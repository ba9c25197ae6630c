// What we serve to the engine while it builds for us: our files, secrets, logins, the SSH agent, and places for what it makes.
//
// The engine is the one that calls; it gets what the command line names, and nothing else: no folder, no secret, no path of its own choice.
#pragma once

#include "cli/build/content_service.hpp"
#include "cli/build/inputs.hpp"
#include "cli/build/options.hpp"
#include "cli/build/ssh_agent.hpp"
#include "grpc/server.hpp"

#include <map>
#include <string>
#include <vector>

namespace grua::cli {

/// A larger secret is refused.
inline constexpr std::size_t secret_limit = std::size_t{500} << 10U;

/// Loop only; outlives its calls. The options, the inputs and the pool outlive it.
class BuildSession {
public:
    /// Throws Error where a secret's file or an agent's socket is not there.
    BuildSession(const BuildOptions& options, const BuildInputs& inputs, asio::thread_pool& pool);

    const grpc::Services& services() const noexcept { return services_; }

private:
    void add_files();
    void add_outputs();
    void add_secrets();
    void add_logins();
    void add_upload();
    asio::awaitable<void> send_folder(grpc::ServerCall& call);
    asio::awaitable<void> take_output(grpc::ServerCall& call);
    asio::awaitable<void> send_input(grpc::ServerCall& call);

    const BuildOptions& options_;
    const BuildInputs& inputs_;
    asio::thread_pool& pool_;
    std::map<std::string, BuildSecret> secrets_;
    AgentService agents_;
    ContentService blobs_;
    grpc::Services services_;
    bool input_is_taken_ = false;
};

/// Folders of blobs by the IDs by which the engine asks for them: of caches, of outputs without a tar, of contexts.
std::map<std::string, std::string> content_folders(const BuildOptions& options, const BuildInputs& inputs);

/// A list in a call's metadata, which is percent-encoded where it has more than ASCII.
std::vector<std::string> metadata_list(const grpc::Headers& metadata, std::string_view name);

}  // namespace grua::cli
