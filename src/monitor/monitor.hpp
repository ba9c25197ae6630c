// The monitor of one container: parent of its init, owner of its streams, its log and its exit status. A single thread that
// waits in poll(2); see messages.hpp for what it says and hears. It outlives gruad.
#pragma once

#include "base/fd.hpp"
#include "monitor/messages.hpp"

#include <map>
#include <string>
#include <vector>

namespace grua::monitor {

struct MonitorFds {
    Fd control;
    Fd spec;
    Fd rootfs;
    Fd network_namespace;
    std::map<std::string, Fd> namespaces;  ///< By the spec's kind.
    std::map<std::string, Fd> mounts;      ///< By destination.
    std::vector<Fd> kept;                  ///< Until the program runs.
    std::map<std::string, Fd> held;        ///< For the next gruad, by Hold's names.
    Fd empty_mounts;                       ///< A mount namespace; may be missing.
};

/// Runs until the container has ended and that is written down; returns the process's exit status.
int monitor_main(const Launch& launch, MonitorFds fds);

}  // namespace grua::monitor
