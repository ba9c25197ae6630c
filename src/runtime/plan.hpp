// All that a child of clone3 needs, made by its parent: the child opens nothing on the host but /dev/null, and in a user
// namespace the devices, which cannot be made there.
#pragma once

#include "linux/capabilities.hpp"
#include "linux/root.hpp"
#include "linux/seccomp.hpp"
#include "oci/runtime_spec.hpp"
#include "runtime/channel.hpp"
#include "runtime/container.hpp"
#include "runtime/mount_options.hpp"

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
    Fd source;  ///< For a bind: a detached copy of the source, made in the creator's mount namespace.
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

    std::uint64_t own_namespaces = 0;  ///< CLONE_NEW*
    std::vector<JoinedNamespace> joined;
    bool in_user_namespace = false;

    Fd rootfs;  ///< Detached.
    std::vector<PlannedMount> mounts;
    bool has_cgroup_v2 = false;            ///< And nothing else.
    const linux::Cgroup* joins = nullptr;  ///< What the child moves itself into; null where its parent puts it in.
    bool pivot = true;
    int empty_mounts = -1;  ///< The mount namespace to begin from; -1: the creator's, whose tree is left at the end.
    std::string state;      ///< For hooks; the child puts its pid in.

    Stdio stdio;
    Fd null;  ///< The host's /dev/null, for the streams that are not given: the image's may be anything.
    int preserved_fds = 0;
    Fd start_fifo;  ///< Read end, with StartMode::on_start.
    const linux::SeccompProgram* seccomp = nullptr;
    std::optional<linux::Capabilities> capabilities;

    std::string rootfs_name;
};

/// What hides a path: attached over the first one, copied from there for all others.
struct Cover {
    Fd mount;
    bool is_attached = false;
};

/// What changes while the child goes through its steps.
struct Progress {
    const Channel* channel = nullptr;
    bool cgroup_ready = false;
    std::optional<Root> root;  ///< The container's root, from the step that attaches it on.
    Cover null;
    Fd proc;      ///< The container's own, writable and with all in it; empty where its configuration has another.
    Fd terminal;  ///< The slave.
    std::string home;

    /// Blocks until the parent has put this process into its cgroup.
    void need_cgroup();
};

struct Step {
    const char* doing;  ///< Put before an error's text; empty where the text is Docker's own.
    void (*run)(const Plan&, Progress&);
};

/// A session of its own, with no signal blocked or ignored and no umask: nothing of how the caller was started goes on.
void leave_callers_session();

bool is_of_cgroups(const PlannedMount& planned);
/// Fills PlannedMount::cgroups.
void copy_cgroups(Plan& plan, const linux::Cgroup& cgroup);

// Steps, by the file they are in.
void attach_rootfs(const Plan& plan, Progress& progress);
void mount_all(const Plan& plan, Progress& progress);
void mount_cgroups(const Plan& plan, Progress& progress, const PlannedMount& planned, int target);
void make_devices(const Plan& plan, Progress& progress);
void open_terminal(const Plan& plan, Progress& progress);
void protect_paths(const Plan& plan, Progress& progress);
void enter_root(const Plan& plan, Progress& progress);

void become_user(const Plan& plan, Progress& progress);
[[noreturn]] void execute(const Plan& plan, Progress& progress);
void use_stdio(const Plan& plan, Progress& progress);

/// Runs the steps, then the program. Never returns: what fails is sent and the process ends.
[[noreturn]] void run_child(const Plan& plan, const Channel& channel, const Step* steps, std::size_t count) noexcept;

/// The sets of a process document; inheritable is only what ambient needs (CVE-2022-29162).
std::optional<linux::Capabilities> planned_capabilities(const oci::Process& process);
/// Throws Error(not_implemented) for what is in a configuration and would have no effect.
void refuse_unsupported(const oci::Process& process, const oci::Linux& linux);
linux::SeccompProfile seccomp_profile(const oci::Seccomp& seccomp);

}  // namespace grua::runtime
