// The command line between the user's terminal and signals and the container's process.
#pragma once

#include "base/fd.hpp"

#include <sys/types.h>
#include <csignal>
#include <string>

namespace grua::app {

/// Blocks all signals that are to be passed on; returns what was blocked before plus those.
sigset_t block_signals();

/// Sends the master to `path`, as runc's --console-socket has it.
void send_terminal(const std::string& path, int master);

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
