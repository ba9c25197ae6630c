// All that a child of clone3 needs, made by its parent, and what changes while the child goes through its steps.
#pragma once

#include "linux/capabilities.hpp"
#include "linux/root.hpp"
#include "linux/seccomp.hpp"
#include "oci/runtime_spec.hpp"
#include "runtime/channel.hpp"
#include "runtime/container.hpp"
#include "runtime/mount_options.hpp"
#include "runtime/outcome.hpp"

#include <sched.h>
#include <optional>
#include <string>
#include <vector>

namespace grua::runtime {

/// The container's folder of one hierarchy, a detached copy.
struct CgroupCopy {
    std::string name;  ///< Of the hierarchy's folder on the host.
    Fd mount;
};

struct PlannedMount {
    const oci::Mount* mount;
    MountOptions options;
    std::string source_path;  ///< Of a bind, absolute.
    Fd source;                ///< Detached: given, or a copy where the child could not make one.
    std::vector<CgroupCopy> cgroups;
};

struct JoinedNamespace {
    std::uint64_t flag;
    Fd fd;
};

struct Plan {
    const oci::RuntimeSpec* spec = nullptr;
    const oci::Process* process = nullptr;
    const oci::Linux* linux = nullptr;
    std::string id;
    std::string bundle;

    std::uint64_t own_namespaces = 0;     ///< CLONE_NEW*
    std::vector<JoinedNamespace> joined;  ///< All but the two that follow.
    Fd user_namespace;
    /// Entered last of all, by a process that has nothing of the host any more: whoever is inside sees it from then on.
    Fd pid_namespace;
    bool in_user_namespace = false;
    bool has_tracers = false;  ///< Who is inside already may trace what comes in: it must not have a right more than they.

    /// Detached; empty where the container uses a mount namespace that is not its own. Of an exec into such a one: the container's root.
    Fd rootfs;
    bool owns_rootfs = false;  ///< It is the container's own layer, not a folder of somebody's bundle.
    std::string rootfs_path;
    bool at_its_path = false;  ///< The root is mounted where it is on the host, all of which is there until the root is changed.
    std::vector<PlannedMount> mounts;
    Fd proc;                     ///< A proc of `pid_namespace`, not configured yet; empty where the child's own will do.
    bool has_cgroup_v2 = false;  ///< And nothing else.
    const linux::Cgroup* cgroup = nullptr;
    const linux::Cgroup* joins = nullptr;  ///< What the child moves itself into; null where its parent puts it in.
    bool pivot = true;
    int empty_mounts = -1;  ///< The mount namespace to begin from; -1: the creator's, whose tree is left at the end.

    bool runs_hooks = false;
    Stdio stdio;
    int preserved_fds = 0;
    bool plain_newlines = false;
    Fd start_fifo;  ///< Read end, with StartMode::on_start.
    const linux::SeccompProgram* seccomp = nullptr;
    std::string apparmor_profile;  ///< Empty: what the program is confined by stays as it is.
    linux::Capabilities capabilities;

    Outcome outcome;

    bool has_own_mounts() const noexcept { return (own_namespaces & CLONE_NEWNS) != 0; }
};

/// What hides a path: attached over the first one, copied from there for all others.
struct Cover {
    Fd mount;
    bool is_attached = false;
};

/// A mount that is not attached yet. Nothing where there is none to be made (a remount).
struct MadeMount {
    Fd own;
    int fd = -1;  ///< `own`, or what the plan holds.
    std::vector<CgroupCopy> cgroups;
};

struct Progress {
    Channel* channel = nullptr;
    bool cgroup_ready = false;
    bool in_cgroup_namespace = false;
    std::optional<Root> root;     ///< The container's root, from the step that attaches it on.
    std::vector<MadeMount> made;  ///< By number of the plan's mounts, where they are made before the first is attached.
    std::vector<std::pair<Fd, std::string>> read_only_later;
    Fd proc;      ///< The container's own, writable and with all in it; empty where its configuration has another.
    Fd null;      ///< /dev/null of the container, where we have made it.
    Fd terminal;  ///< The slave.
    std::string home;
    bool in_working_directory = false;
    bool is_filtered = false;

    /// Blocks until the parent has put this process into its cgroup.
    void need_cgroup();
};

struct Step {
    const char* doing;  ///< Put before an error's text; empty where the text is Docker's own.
    void (*run)(const Plan&, Progress&);
};

/// A session of its own, with no signal blocked or ignored, no umask, on any processor: nothing of how the caller was started goes on.
void leave_callers_session();

/// A null device that is the container's own, so that whoever changes its mode or owner changes nothing of the host's.
Fd make_null_device();
bool is_null_device(int fd);

bool is_of_cgroups(const PlannedMount& planned);
/// Fills PlannedMount::cgroups where the child cannot copy them.
void copy_cgroups(Plan& plan, const linux::Cgroup& cgroup);
MadeMount make_cgroup_mount(const Plan& plan, Progress& progress, const PlannedMount& planned);
void attach_cgroups(const Plan& plan, const PlannedMount& planned, const MadeMount& made, int target);

/// "/a//b/../c" -> "/a/c".
std::string cleaned(std::string_view path);
/// The mount point, made where it is missing; links are followed as the container sees them, also those that lead to nothing.
Fd mount_point(const Root& root, const std::string& path, Root::Kind kind, bool& was_there);
/// /proc, /sys and /dev must be folders of the container's, not links (CVE-2023-27561, CVE-2019-19921, CVE-2026-41579).
void need_folder(const Plan& plan, const Root& root, const std::string& path);
/// Copies what is in one folder to another, with owners and modes.
void copy_tree(int from, int to);

// Steps, by the file they are in.
void enter_cgroup_namespace(const Plan& plan, Progress& progress);
void attach_rootfs(const Plan& plan, Progress& progress);
void enter_root(const Plan& plan, Progress& progress);
void make_mounts(const Plan& plan, Progress& progress);
void attach_mounts(const Plan& plan, Progress& progress);
void finish_mounts(const Plan& plan, Progress& progress);
void make_devices(const Plan& plan, Progress& progress);
void open_terminal(const Plan& plan, Progress& progress);
void protect_paths(const Plan& plan, Progress& progress);
void use_stdio(const Plan& plan, Progress& progress);
void become_user(const Plan& plan, Progress& progress);

/// Runs the steps, then the program. Never returns: what fails is in the outcome, and the process ends.
[[noreturn]] void run_child(const Plan& plan, Channel& channel, const Step* steps, std::size_t count) noexcept;

/// The parent's part of a joined PID namespace's proc: a proc shows the namespace of the process that asked for it.
Fd proc_of(const Plan& plan);

/// The sets of a process document, none where it has none; warns of names that mean nothing here, as runc does.
linux::Capabilities planned_capabilities(const oci::Process& process);
/// Throws Error(not_implemented) for what is in a configuration and would have no effect.
/// What this kernel can apply; empty where it has no AppArmor, which is told.
std::string planned_profile(const oci::Process& process);
void refuse_unsupported(const oci::Process& process, const oci::Linux& linux);
linux::SeccompProfile seccomp_profile(const oci::Seccomp& seccomp);

}  // namespace grua::runtime
