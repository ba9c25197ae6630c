// A further process in a running container: joins all its namespaces by the init's pidfd, the PID namespace last.
#include "base/error.hpp"
#include "base/fault_point.hpp"
#include "base/files.hpp"
#include "base/test_points.hpp"
#include "linux/process.hpp"
#include "runtime/birth.hpp"
#include "runtime/container.hpp"
#include "runtime/plan.hpp"
#include "runtime/rlimits.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <array>

namespace grua::runtime {
namespace {

void begin(const Plan& plan, Progress& progress) {
    if (plan.joins) plan.joins->attach_self();
    leave_callers_session();
    progress.need_cgroup();
}

void join(const Plan& plan, Progress& progress) {
    const JoinedNamespace& target = plan.joined.front();
    if (::setns(target.fd.get(), static_cast<int>(target.flag)) != 0) fail_errno("join the container's namespaces");
    // Its root is not its mount namespace's where that is not its own.
    if (plan.rootfs && (::fchdir(plan.rootfs.get()) != 0 || ::chroot(".") != 0)) fail_errno("enter the container's root");
    if (plan.in_user_namespace && (::syscall(SYS_setresgid, 0, 0, 0) != 0 || ::syscall(SYS_setresuid, 0, 0, 0) != 0))
        fail_errno("become root of the user namespace");
    if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) fail_errno("dumpable");
    progress.root.emplace(Root::open("/"));
}

constexpr std::array steps{
    Step{"begin", begin},
    Step{"namespaces", join},
    Step{"terminal", open_terminal},
    Step{"standard streams", use_stdio},
};

/// Only where CVE-2016-9962 is let happen: the child is in the PID namespace before it is anywhere else.
class PidNamespaceFirst {
public:
    explicit PidNamespaceFirst(Plan& plan) {
        if (!is_left_out("CVE-2016-9962") || !plan.pid_namespace) return;
        own_ = Fd{::open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC)};
        if (::setns(plan.pid_namespace.get(), CLONE_NEWPID) != 0) fail_errno("join the container's PID namespace");
        plan.pid_namespace = {};
    }
    PidNamespaceFirst(const PidNamespaceFirst&) = delete;
    PidNamespaceFirst& operator=(const PidNamespaceFirst&) = delete;
    ~PidNamespaceFirst() {
        if (own_ && ::setns(own_.get(), CLONE_NEWPID) != 0) std::abort();
    }

private:
    Fd own_;
};

/// The child inherits it, which a container that shares the host's PID namespace sees from its first moment (CVE-2016-9962).
class NotDumpable {
public:
    NotDumpable() : was_(::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)) {
        if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) fail_errno("dumpable");
    }
    NotDumpable(const NotDumpable&) = delete;
    NotDumpable& operator=(const NotDumpable&) = delete;
    ~NotDumpable() {
        if (was_ == 1) ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    }

private:
    int was_;
};

Fd duplicate(int fd) {
    Fd copy{::fcntl(fd, F_DUPFD_CLOEXEC, 3)};
    if (!copy) fail_errno("the container's pidfd");
    return copy;
}

/// Then it is not joined: an ordinary user, who is root of the container's user namespace only, may not.
bool is_in_our_network(pid_t pid) {
    struct stat theirs{};
    struct stat own{};
    return ::stat(fmt::format("/proc/{}/ns/net", pid).c_str(), &theirs) == 0 && ::stat("/proc/self/ns/net", &own) == 0 &&
           theirs.st_ino == own.st_ino;
}

bool may_trace(const oci::RuntimeSpec& spec) {
    constexpr unsigned cap_sys_ptrace = 19;
    return spec.process &&
           linux::parse_capabilities(spec.process->capabilities.value_or(oci::Capabilities{}).bounding).set.has(cap_sys_ptrace);
}

void plan_namespaces(Plan& plan, const ExecTarget& target) {
    // What the container was given its own of; network also where it is not named, since a sandbox may have been handed over by descriptor.
    std::uint64_t flags = CLONE_NEWNS;
    if (!is_in_our_network(target.pid)) flags |= CLONE_NEWNET;
    bool has_own_mounts = false;
    for (const auto& each : plan.linux->namespaces) {
        flags |= linux::namespace_flag(each.type).value_or(0);
        has_own_mounts = has_own_mounts || (each.type == "mount" && each.path.empty());
    }
    if (!has_own_mounts) {
        const std::string path = fmt::format("/proc/{}/root", target.pid);
        plan.rootfs = Fd{::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
        if (!plan.rootfs) fail_errno("open {}", path);
    }
    plan.in_user_namespace = (flags & CLONE_NEWUSER) != 0;
    plan.joined.push_back({flags & ~std::uint64_t{CLONE_NEWPID}, duplicate(target.pidfd)});
    if ((flags & CLONE_NEWPID) != 0) plan.pid_namespace = duplicate(target.pidfd);
    plan.has_tracers = may_trace(*target.spec);
}

}  // namespace

ExecStarted exec(const ExecTarget& target, const oci::Process& process, const ExecOptions& options) {
    static const oci::Linux no_linux;
    Plan plan;
    plan.spec = target.spec;
    plan.process = &process;
    plan.linux = target.spec->linux_ ? &*target.spec->linux_ : &no_linux;
    plan.stdio = options.stdio;
    plan.preserved_fds = options.preserved_fds;
    plan.plain_newlines = options.plain_newlines;
    refuse_unsupported(process, *plan.linux);
    plan.apparmor_profile = planned_profile(process);
    plan.capabilities = planned_capabilities(process);
    linux::SeccompCache filters{options.seccomp_cache};
    if (plan.linux->seccomp) plan.seccomp = &filters.get(seccomp_profile(*plan.linux->seccomp));
    begin_step("runtime:exec-plan");
    plan_namespaces(plan, target);
    if (target.cgroup && target.cgroup->directory_fd() < 0) plan.joins = target.cgroup;

    begin_step("runtime:exec-clone");
    auto [ours, theirs] = Channel::make();
    linux::Cloned cloned = [&] {
        const NotDumpable around;
        const PidNamespaceFirst first{plan};
        linux::Cloned child = linux::clone_process(0);
        if (child.pid == 0) {
            ours.close();
            run_child(plan, theirs, steps.data(), steps.size());
        }
        return child;
    }();
    Born born{plan, std::move(cloned)};
    theirs.close();

    ExecStarted started;
    try {
        begin_step("runtime:exec-set-up");
        if (target.cgroup && !plan.joins) target.cgroup->attach(born.pid(), target.pid);
        if (process.oom_score_adj)
            write_value(fmt::format("/proc/{}/oom_score_adj", born.pid()), fmt::format("{}", *process.oom_score_adj));
        set_rlimits(born.pid(), process.rlimits);
        ours.send(Word::cgroup_ready);
    } catch (const Error&) {
        // Where the child has failed before, its own words are the reason.
        if (auto error = plan.outcome.failure()) throw std::move(*error);
        throw;
    }
    while (auto message = ours.receive()) {
        if (message->word == Word::terminal) started.terminal = std::move(message->fd);
    }
    born.conclude();
    begin_step("runtime:exec-born");
    started.pid = born.pid();
    started.pidfd = born.release();
    return started;
}

}  // namespace grua::runtime
