#include "runtime/birth.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "linux/mounts.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <csignal>
#include <cstdlib>

namespace grua::runtime {
namespace {

bool is_our_child(pid_t pid) {
    siginfo_t about{};
    return pid > 0 && ::waitid(P_PID, static_cast<id_t>(pid), &about, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/// In a process of the joined PID namespace that has nothing else: its creator has left the host before.
[[noreturn]] void open_proc(Fd socket) {
    const Channel channel = Channel::at(std::move(socket));
    try {
        channel.send(Word::mounted, linux::open_filesystem("proc").get());
        ::_exit(0);
    } catch (const Error& error) {
        ::_exit(error.os_error() != 0 ? error.os_error() : EINVAL);
    }
}

/// Whoever may trace, inside, can take what the process in there has, so it has next to nothing.
[[noreturn]] void leave_and_open_proc(const Plan& plan, int empty_mounts, int socket) {
    const auto check = [](int result) {
        if (result != 0) ::_exit(errno);
    };
    check(::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
    for (const JoinedNamespace& each : plan.joined)
        if (each.flag == CLONE_NEWNET) check(::setns(each.fd.get(), CLONE_NEWNET));
    if ((plan.own_namespaces & CLONE_NEWNET) != 0) check(::unshare(CLONE_NEWNET));
    check(::setns(empty_mounts, CLONE_NEWNS));
    check(::setns(plan.pid_namespace.get(), CLONE_NEWPID));
    // To ask for a proc takes CAP_SYS_ADMIN, but only over the mount namespace: so it is nobody's right on the host. Where no user
    // namespace can be made it has to be the host's, for the moment that the process lives.
    [[maybe_unused]] const int made = ::unshare(CLONE_NEWUSER | CLONE_NEWNS);
    const linux::CapabilitySet admin{std::uint64_t{1} << 21U};
    linux::set_capabilities({.bounding = {}, .effective = admin, .inheritable = {}, .permitted = admin, .ambient = {}});
    check(::dup2(socket, 0) == 0 ? 0 : -1);
    check(static_cast<int>(::syscall(SYS_close_range, 1, ~0U, 0)));
    const linux::Cloned inside = linux::clone_process(0);
    if (inside.pid == 0) open_proc(Fd{0});
    const int status = linux::reap(inside.pid);
    ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : EINTR);
}

}  // namespace

Fd proc_of(const Plan& plan) {
    const Fd made = plan.empty_mounts < 0 ? linux::make_empty_mount_namespace() : Fd{};
    auto [ours, theirs] = Channel::make();
    const linux::Cloned child = linux::clone_process(0);
    if (child.pid == 0) {
        try {
            leave_and_open_proc(plan, made ? made.get() : plan.empty_mounts, theirs.fd());
        } catch (const Error& error) {
            ::_exit(error.os_error() != 0 ? error.os_error() : EINVAL);
        }
    }
    theirs.close();
    auto message = ours.receive();
    const int status = linux::reap(child.pid);
    if (message && message->fd) return std::move(message->fd);
    errno = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
    fail_errno("open the proc of the joined PID namespace");
}

ForChildren::ForChildren(const Plan& plan) {
    // Into a user namespace of its own the child cannot take rights over ours, so what it joins is joined before it.
    if (plan.in_user_namespace && !plan.user_namespace)
        for (const auto& each : plan.joined) enter(each.flag, each.fd.get());
    if ((plan.own_namespaces & CLONE_NEWTIME) != 0) {
        remember(CLONE_NEWTIME);
        if (::unshare(CLONE_NEWTIME) != 0) fail_errno("time namespace");
        for (const auto& [clock, offset] : plan.linux->time_offsets)
            write_value("/proc/self/timens_offsets", fmt::format("{} {} {}\n", clock, offset.secs, offset.nanosecs));
    }
}

ForChildren::~ForChildren() {
    for (const auto& each : before_) {
        if (::setns(each.fd.get(), static_cast<int>(each.flag)) != 0) std::abort();  // Going on in a container's namespace would be worse.
    }
}

void ForChildren::remember(std::uint64_t flag) {
    const char* path = flag == CLONE_NEWNET    ? "/proc/self/ns/net"
                       : flag == CLONE_NEWIPC  ? "/proc/self/ns/ipc"
                       : flag == CLONE_NEWUTS  ? "/proc/self/ns/uts"
                       : flag == CLONE_NEWTIME ? "/proc/self/ns/time"
                       : flag == CLONE_NEWNS   ? "/proc/self/ns/mnt"
                                               : "/proc/self/ns/cgroup";
    Fd fd{::open(path, O_RDONLY | O_CLOEXEC)};
    if (!fd) fail_errno("open {}", path);
    before_.push_back({flag, std::move(fd)});
}

void ForChildren::enter(std::uint64_t flag, int fd) {
    remember(flag);
    if (::setns(fd, static_cast<int>(flag)) != 0) fail_errno("join a namespace");
}

Born::~Born() {
    if (!pidfd_) return;
    ::kill(pid_, SIGKILL);  // Ours and not reaped yet, so the pid is it.
    linux::reap(pid_);
    const pid_t program = *plan_.outcome.program();
    if (has_hopped_ || program == pid_ || !is_our_child(program)) return;
    ::kill(program, SIGKILL);
    linux::reap(program);
}

void Born::adopt() {
    if (has_hopped_) return;
    has_hopped_ = true;
    const pid_t program = [&] {
        linux::reap(pid_);
        return *plan_.outcome.program();
    }();
    pidfd_ = {};
    if (!is_our_child(program)) {
        if (auto error = plan_.outcome.failure()) throw std::move(*error);
        fail(ErrorKind::system, "the container's setup was killed");
    }
    pid_ = program;
    pidfd_ = linux::open_pidfd(program);
}

void Born::conclude(Came came) {
    if (plan_.pid_namespace) adopt();
    if (auto error = plan_.outcome.failure()) throw std::move(*error);
    if (plan_.outcome.is_executing() || came == Came::to_wait) return;
    siginfo_t about{};
    const bool has_ended = ::waitid(P_PID, static_cast<id_t>(pid_), &about, WEXITED | WNOHANG | WNOWAIT) == 0 && about.si_pid == pid_;
    if (has_ended && about.si_code != CLD_EXITED) fail(ErrorKind::system, "the container's setup was killed by signal {}", about.si_status);
    fail(ErrorKind::system, "the container's setup ended without a word");
}

Fd Born::release() noexcept { return std::move(pidfd_); }

}  // namespace grua::runtime
