// The launcher: a small single-threaded process that forks a monitor for each container (its messages: messages.hpp).
#pragma once

#include "base/fd.hpp"

#include <sys/types.h>
#include <string>
#include <vector>

namespace grua::monitor {

struct Launch;
struct MonitorFds;

/// `grua-runtime launcher`: reads Launch messages from `socket` until gruad's end closes. Returns the exit status. In a forked
/// monitor it does not return.
int launcher_main(int socket);

/// Descriptors of a Launch by what Launch::fds calls them. Throws Error(invalid_argument) where there are not as many as it names, or a
/// needed one is missing. They are taken from `given`.
MonitorFds sort_fds(const Launch& launch, std::vector<Fd>& given);

struct LauncherProcess {
    pid_t pid = -1;
    Fd pidfd;   ///< Readable when the launcher has ended; the caller reaps.
    Fd socket;  ///< Send Launch messages here, with the fds that Launch::fds names. Closing it ends the launcher.
};

/// Starts `runtime_path launcher` from a sealed copy in memory, with an empty environment. Safe with threads.
LauncherProcess start_launcher(const std::string& runtime_path);

}  // namespace grua::monitor
