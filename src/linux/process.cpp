#include "linux/process.hpp"

#include "base/error.hpp"
#include "base/files.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <charconv>
#include <csignal>
#include <string>

namespace grua::linux {

std::optional<std::uint64_t> namespace_flag(std::string_view oci_name) noexcept {
    if (oci_name == "pid") return CLONE_NEWPID;
    if (oci_name == "network") return CLONE_NEWNET;
    if (oci_name == "mount") return CLONE_NEWNS;
    if (oci_name == "ipc") return CLONE_NEWIPC;
    if (oci_name == "uts") return CLONE_NEWUTS;
    if (oci_name == "user") return CLONE_NEWUSER;
    if (oci_name == "cgroup") return CLONE_NEWCGROUP;
    if (oci_name == "time") return CLONE_NEWTIME;
    return std::nullopt;
}

Cloned clone_process(std::uint64_t flags, int cgroup) {
    int pidfd = -1;
    clone_args arguments{};
    arguments.flags = flags | CLONE_PIDFD | CLONE_CLEAR_SIGHAND;
    arguments.pidfd = reinterpret_cast<std::uintptr_t>(&pidfd);
    arguments.exit_signal = SIGCHLD;
    if (cgroup >= 0) {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = static_cast<std::uint64_t>(cgroup);
    }
    const long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid < 0) fail_errno("clone");
    if (pid == 0) return {};
    return {static_cast<pid_t>(pid), Fd{pidfd}};
}

Fd open_pidfd(pid_t pid) {
    Fd fd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
    if (!fd && errno == ESRCH) throw Error(ErrorKind::not_found, fmt::format("no process {}", pid), ESRCH);
    if (!fd) fail_errno("open process {}", pid);
    return fd;
}

void send_signal(int pidfd, int signal) {
    if (::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) == 0) return;
    if (errno == ESRCH) throw Error(ErrorKind::not_found, "the process has ended", ESRCH);
    fail_errno("send signal {}", signal);
}

namespace {

/// "SigCgt:\t00000000280b2603"
std::uint64_t signal_line(std::string_view status, std::string_view name) {
    const std::size_t at = status.find(fmt::format("\n{}:\t", name));
    if (at == std::string_view::npos) return 0;
    std::uint64_t out = 0;
    const char* first = status.data() + at + name.size() + 3;
    std::from_chars(first, status.data() + status.size(), out, 16);
    return out;
}

}  // namespace

std::optional<SignalSets> signal_sets(int pidfd) {
    const std::string about = read_file(fmt::format("/proc/self/fdinfo/{}", pidfd));
    constexpr std::string_view key = "\nPid:\t";
    const std::size_t at = about.find(key);
    if (at == std::string::npos) return std::nullopt;
    const std::string number = about.substr(at + key.size(), about.find('\n', at + 1) - at - key.size());
    std::string status;
    try {
        status = read_file(fmt::format("/proc/{}/status", number));
    } catch (const Error&) {
        return std::nullopt;
    }
    // The number was its own where it is there afterwards still.
    if (::syscall(SYS_pidfd_send_signal, pidfd, 0, nullptr, 0) != 0) return std::nullopt;
    return SignalSets{.caught = signal_line(status, "SigCgt"),
                      .blocked = signal_line(status, "SigBlk"),
                      .pending = signal_line(status, "ShdPnd") | signal_line(status, "SigPnd")};
}

void close_on_exec_from(unsigned first) {
    if (::syscall(SYS_close_range, first, ~0U, CLOSE_RANGE_CLOEXEC) != 0) fail_errno("mark descriptors close-on-exec");
}

void set_close_on_exec(int fd, bool close_on_exec) {
    if (::fcntl(fd, F_SETFD, close_on_exec ? FD_CLOEXEC : 0) != 0) fail_errno("descriptor {}", fd);
}

int reap(pid_t pid) noexcept {
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

}  // namespace grua::linux
