// Making and naming processes: clone3, pidfds, namespaces by their kind.
#pragma once

#include "base/fd.hpp"

#include <sys/types.h>
#include <cstdint>
#include <optional>
#include <string_view>

namespace grua::linux {

/// "pid" -> CLONE_NEWPID, and so on for the eight kinds that OCI names (config-linux.md#namespaces).
std::optional<std::uint64_t> namespace_flag(std::string_view oci_name) noexcept;

struct Cloned {
    pid_t pid = 0;  ///< 0 in the child.
    Fd pidfd;       ///< Empty in the child.
};

/// fork() with namespaces and a pidfd; `cgroup` (v2, -1 none) is where the child is born. For single-threaded callers.
Cloned clone_process(std::uint64_t flags, int cgroup = -1);

/// Throws Error(not_found) where there is no such process.
Fd open_pidfd(pid_t pid);

/// Throws Error(not_found) where the process has ended.
void send_signal(int pidfd, int signal);

/// Which signals a process would act on, as bits: 1 << (signal - 1).
struct SignalSets {
    std::uint64_t caught = 0;   ///< It has a handler.
    std::uint64_t blocked = 0;  ///< It takes it when it wants to, as by signalfd; until then the kernel keeps it.
    std::uint64_t pending = 0;  ///< Sent, and blocked so far.
};
/// Nothing where the process has ended.
std::optional<SignalSets> signal_sets(int pidfd);

/// Waits for the end of a child and gives its status as waitpid() does; 0 where it is no child, or was waited for already.
int reap(pid_t pid) noexcept;

/// Every descriptor from `first` on is closed at execve, whoever opened it.
void close_on_exec_from(unsigned first);

void set_close_on_exec(int fd, bool close_on_exec);

}  // namespace grua::linux
