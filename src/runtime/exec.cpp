// A further process in a running container: joins all its namespaces by the init's pidfd in one call.
#include "base/error.hpp"
#include "base/files.hpp"
#include "linux/process.hpp"
#include "runtime/container.hpp"
#include "runtime/plan.hpp"
#include "runtime/rlimits.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <array>
#include <csignal>

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
    if (plan.in_user_namespace && (::syscall(SYS_setresgid, 0, 0, 0) != 0 || ::syscall(SYS_setresuid, 0, 0, 0) != 0))
        fail_errno("become root of the user namespace");
    if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) fail_errno("dumpable");
    progress.root.emplace(Root::open("/"));
}

constexpr std::array steps{
    Step{"begin", begin},  Step{"namespaces", join}, Step{"terminal", open_terminal}, Step{"standard streams", use_stdio},
    Step{"", become_user},
};

/// The PID namespace takes effect on children only: entered for the clone and left again.
class PidNamespace {
public:
    explicit PidNamespace(int pidfd) : own_(::open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC)) {
        if (!own_) fail_errno("open /proc/self/ns/pid");
        if (::setns(pidfd, CLONE_NEWPID) != 0) fail_errno("join the container's PID namespace");
    }
    PidNamespace(const PidNamespace&) = delete;
    PidNamespace& operator=(const PidNamespace&) = delete;
    ~PidNamespace() {
        if (::setns(own_.get(), CLONE_NEWPID) != 0) std::abort();
    }

private:
    Fd own_;
};

}  // namespace

ExecStarted exec(const ExecTarget& target, const oci::Process& process, const ExecOptions& options) {
    static const oci::Linux no_linux;
    Plan plan;
    plan.spec = target.spec;
    plan.process = &process;
    plan.linux = target.spec->linux_ ? &*target.spec->linux_ : &no_linux;
    plan.stdio = options.stdio;
    plan.null = Fd{::open("/dev/null", O_RDWR | O_CLOEXEC)};
    if (!plan.null) fail_errno("open /dev/null");
    plan.preserved_fds = options.preserved_fds;
    refuse_unsupported(process, *plan.linux);
    plan.capabilities = planned_capabilities(process);
    linux::SeccompCache filters{options.seccomp_cache};
    if (plan.linux->seccomp) plan.seccomp = &filters.get(seccomp_profile(*plan.linux->seccomp));

    // What the container was given its own of; network always, since a sandbox may have been handed over by descriptor.
    std::uint64_t flags = CLONE_NEWNS | CLONE_NEWNET;
    for (const auto& each : plan.linux->namespaces) flags |= linux::namespace_flag(each.type).value_or(0);
    plan.in_user_namespace = (flags & CLONE_NEWUSER) != 0;
    Fd pidfd{::fcntl(target.pidfd, F_DUPFD_CLOEXEC, 3)};
    if (!pidfd) fail_errno("the container's pidfd");
    plan.joined.push_back({flags & ~std::uint64_t{CLONE_NEWPID}, std::move(pidfd)});

    // Inherited by the child, which is visible in the container from its first moment (CVE-2016-9962).
    const int before = ::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
    if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) fail_errno("dumpable");

    if (target.cgroup && target.cgroup->directory_fd() < 0) plan.joins = target.cgroup;

    auto [ours, theirs] = Channel::make();
    ExecStarted started;
    {
        std::optional<PidNamespace> inside;
        if ((flags & CLONE_NEWPID) != 0) inside.emplace(target.pidfd);
        linux::Cloned cloned = linux::clone_process(0);
        if (cloned.pid == 0) {
            ours.close();
            run_child(plan, theirs, steps.data(), steps.size());
        }
        started.pid = cloned.pid;
        started.pidfd = std::move(cloned.pidfd);
    }
    if (before == 1) ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    theirs.close();
    try {
        if (target.cgroup && !plan.joins) target.cgroup->attach(started.pid, target.pid);
        if (process.oom_score_adj)
            write_value(fmt::format("/proc/{}/oom_score_adj", started.pid), fmt::format("{}", *process.oom_score_adj));
        set_rlimits(started.pid, process.rlimits);
        ours.send(Word::cgroup_ready);
        while (auto message = ours.receive()) {
            if (message->word == Word::terminal) started.terminal = std::move(message->fd);
        }
    } catch (const Error&) {
        ::kill(started.pid, SIGKILL);
        while (::waitpid(started.pid, nullptr, 0) < 0 && errno == EINTR) {
        }
        throw;
    }
    return started;
}

}  // namespace grua::runtime
