// The launcher: a small single-threaded process that forks a monitor for each container (its messages: messages.hpp).
#pragma once

#include "base/fd.hpp"

#include <sys/types.h>
#include <string>

namespace grua::monitor {

/// `grua-runtime launcher`: reads Launch messages from `socket` until gruad's end closes. Returns the exit status. In a forked
/// monitor it does not return.
int launcher_main(int socket);

struct LauncherProcess {
    pid_t pid = -1;
    Fd pidfd;   ///< Readable when the launcher has ended; the caller reaps.
    Fd socket;  ///< Send Launch messages here, with the fds that Launch::fds names. Closing it ends the launcher.
};

/// Starts `runtime_path launcher` from a sealed copy in memory, with an empty environment. Safe with threads.
LauncherProcess start_launcher(const std::string& runtime_path);

}  // namespace grua::monitor
