// The command line between the user's terminal and signals and the container's process.
#pragma once

#include "base/fd.hpp"

#include <sys/types.h>
#include <csignal>
#include <string>
#include <string_view>

namespace grua::app {

/// Blocks all signals that are to be passed on; returns what was blocked before plus those.
sigset_t block_signals();

/// Sends a descriptor with a name to the socket `path`, as runc does for --console-socket and --pidfd-socket.
void send_descriptor(const std::string& path, std::string_view name, int fd);

class Relay {
public:
    Relay(pid_t pid, int pidfd, int terminal, const sigset_t& signals) : pid_(pid), pidfd_(pidfd), terminal_(terminal), signals_(signals) {}
    /// Until the process has ended and the terminal is drained.
    void run() const;

private:
    pid_t pid_;
    int pidfd_;
    int terminal_;
    sigset_t signals_;
};

}  // namespace grua::app
