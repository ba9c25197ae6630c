// The agent of SSH of a build's client, at a socket on the host: who connects to it speaks to the client's.
//
//   <directory>/<random>/agent    the socket; the folder is root's alone, so that whoever is to have it gets it by a mount
//
// Loop only.
#pragma once

#include "base/async.hpp"
#include "build/session_files.hpp"

#include <sys/types.h>
#include <memory>
#include <string>

namespace grua::build {

struct SshAgentOptions {
    std::string directory;  ///< On a tmpfs; made where it is missing.
    std::string id;         ///< As the client knows it; empty for its default.
    uid_t uid = 0;
    gid_t gid = 0;
    mode_t mode = 0600;
};

/// Destroyed, the socket is gone and its connections end.
class SshAgent {
public:
    /// Throws Error where no client has such an agent, as in BuildKit: `no SSH key "x" forwarded from the client`, or the client's words.
    static asio::awaitable<std::unique_ptr<SshAgent>> open(asio::any_io_executor loop, SessionGroup group, SshAgentOptions options);
    SshAgent(const SshAgent&) = delete;
    SshAgent& operator=(const SshAgent&) = delete;
    ~SshAgent();

    /// Of the socket.
    const std::string& path() const noexcept { return path_; }
    std::size_t connections() const noexcept;

    /// Ends its connections and waits until they have.
    asio::awaitable<void> close();

private:
    struct State;
    SshAgent(std::shared_ptr<State> state, std::string folder);

    std::shared_ptr<State> state_;
    std::string folder_;
    std::string path_;
};

}  // namespace grua::build
