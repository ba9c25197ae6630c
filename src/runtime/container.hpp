// A container from an OCI runtime configuration: create, start, exec. For a single-threaded caller; knows nothing of
// gruad, images or networks. How it goes:
//
//     caller                               child (one clone3 with its namespaces and a pidfd)
//     ------                               -----
//     clone3 ───────────────────────────►  waits for its ID maps where there is a user namespace
//     ID maps, cgroup, limits, attach      mounts, /dev, masks, sysctls …: the steps of container.cpp, in order
//     "cgroup ready" ───────────────────►  cgroup namespace and mount
//     hooks of the runtime  ◄── "mounted"  (only where the spec has hooks)
//     terminal's master     ◄── its fd     (only with process.terminal)
//     end of file           ◄── execve     (at_once)      or "ready", then waits at the fifo (on_start)
//
// Any failure of a step is in the memory that both share (outcome.hpp), whole - kind, errno, text - and create() throws it.
//
// A PID namespace that exists already, an exec's or a configuration's by path, has somebody in it who watches. The child stays outside of
// it to the end, and makes the process that becomes the program only when nothing is left to do but to execute (process.cpp):
//
//     caller            child, in the caller's PID namespace                 program's process, the caller's child too
//     ------            ------------------------------------                 -----
//     clone3 ─────────► joins, mounts, user, rights; closes all; vfork ────► session, terminal, filter, execve
//     end of child ◄─── its end, once the program executes or has failed
//
// What the folder keeps true: no path inside the container is used but through an fd that openat2 resolved under its
// root; everything the child mounts is in its own mount namespace, so nothing can leak; no descriptor above 2 survives
// execve but those the caller preserves.
#pragma once

#include "base/fd.hpp"
#include "linux/cgroup.hpp"
#include "oci/runtime_spec.hpp"

#include <sys/types.h>
#include <map>
#include <string>
#include <vector>

namespace grua::runtime {

enum class StartMode {
    at_once,   ///< create() returns when the program has executed.
    on_start,  ///< The child stops before execve until start(): OCI's create and start.
};

enum class CgroupUse {
    needed,
    needed_with_unified,  ///< In a hybrid its v2 hierarchy is joined too: slower by 0.1 ms, and where runc puts a container.
    if_permitted,         ///< An ordinary user's container has none where none may be made, and then no limits.
};

/// Borrowed; they become 0, 1 and 2. /dev/null where -1; not used with process.terminal.
struct Stdio {
    int in = -1;
    int out = -1;
    int err = -1;
};

struct CreateRequest {
    std::string id;
    std::string directory;             ///< 0700, made by the caller: the exec fifo lives here.
    Fd rootfs;                         ///< A detached mount; without it spec.root.path is used.
    Fd network_namespace;              ///< Joined; overrides the spec's network namespace.
    std::map<std::string, Fd> mounts;  ///< Detached, by destination: in the place of the source of the spec's bind mount there.
    int empty_mounts = -1;  ///< Borrowed, of linux::make_empty_mount_namespace(): where the container's mounts begin if that will do.
    Stdio stdio;
    StartMode start = StartMode::at_once;
    std::string bundle;         ///< What a relative spec.root.path is relative to, and what hooks are told.
    std::string seccomp_cache;  ///< Folder for compiled filters; none is kept where empty.
    std::string cgroup_path;    ///< Where spec.linux.cgroupsPath is empty; "/grua/<id>" where this is empty too.
    CgroupUse cgroup_use = CgroupUse::needed;
    int preserved_fds = 0;        ///< Descriptors 3 … 2+n of the caller go to the program as they are.
    bool pivot = true;            ///< false: chroot above all that was mounted, for a rootfs on the initial ramfs (`--no-pivot`).
    bool plain_newlines = false;  ///< The terminal makes no "\r\n" of "\n": whoever copies it to another terminal leaves that to that one.
};

struct Started {
    pid_t pid = -1;
    Fd pidfd;
    Fd terminal;  ///< The pty's master, with process.terminal.
    linux::Cgroup cgroup;
};

/// The caller becomes the parent and reaps. Throws Error whole as the child met it; nothing is left behind then.
/// Missing programs carry Docker's texts; which exit status a failure means is exit_status_for()'s.
Started create(const oci::RuntimeSpec& spec, CreateRequest request);

/// Lets a container made with StartMode::on_start execute. Error(conflict) where it is not waiting.
void start(const std::string& directory);

/// True while a container made with on_start waits in `directory`.
bool waits_for_start(const std::string& directory);

struct ExecTarget {
    pid_t pid = -1;                          ///< Of the container's init.
    int pidfd = -1;                          ///< Borrowed.
    const oci::RuntimeSpec* spec = nullptr;  ///< For seccomp, the rootfs's rules, namespaces.
    const linux::Cgroup* cgroup = nullptr;   ///< Null: the process stays in the caller's.
};

struct ExecOptions {
    Stdio stdio;
    std::string seccomp_cache;
    int preserved_fds = 0;
    bool plain_newlines = false;
};

struct ExecStarted {
    pid_t pid = -1;  ///< In the caller's PID namespace; the caller is its parent and reaps.
    Fd pidfd;
    Fd terminal;
};

/// Runs a further process in the container. Returns when it has executed.
ExecStarted exec(const ExecTarget& target, const oci::Process& process, const ExecOptions& options);

/// Runs one point's hooks with the state on their standard input; for poststart and poststop, which have no child's help.
/// Throws at the first that fails.
void run_hooks(const std::vector<oci::Hook>& hooks, std::string_view state_json, std::string_view point);

/// OCI's state document, as hooks and `grua-runtime state` get it.
std::string state_json(std::string_view id, std::string_view status, pid_t pid, std::string_view bundle, const oci::RuntimeSpec& spec);

/// The exit status that Docker gives a start that failed so: 127 not found, 126 cannot be executed, 125 else... see Docker's
/// CLI reference, "Exit status".
int exit_status_for(const Error& error) noexcept;

}  // namespace grua::runtime
