// The last part of every start, of a container's init as of an exec: who the process is and what it may, then execve.
#include "linux/process.hpp"
#include "base/error.hpp"
#include "base/test_points.hpp"
#include "runtime/plan.hpp"
#include "runtime/program.hpp"
#include "runtime/user.hpp"

#include <fcntl.h>
#include <grp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <algorithm>
#include <array>
#include <csignal>

namespace grua::runtime {

void leave_callers_session() {
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    for (const int number : {SIGPIPE, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGCHLD, SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU})
        ::signal(number, SIG_DFL);
    if (::setsid() < 0) fail_errno("setsid");
    ::umask(0);
}
namespace {

/// The standard streams belong to the user, so that opening /dev/stdout again works, as in Docker.
void give_stdio(std::uint32_t uid) {
    for (int fd = 0; fd < 3; ++fd) {
        struct stat about{};
        if (::fstat(fd, &about) != 0 || about.st_uid == uid) continue;
        if (S_ISCHR(about.st_mode) && about.st_rdev == ::makedev(1, 3)) continue;
        [[maybe_unused]] const int done = ::fchown(fd, uid, about.st_gid);  // Not every stream has an owner to change.
    }
}

void enter_directory(const std::string& cwd) {
    if (::chdir(cwd.c_str()) != 0)
        throw Error(errno == ENOENT ? ErrorKind::not_found : ErrorKind::system,
                    fmt::format("chdir to cwd ({:?}) set in config.json failed: {}", cwd,
                                errno == ENOENT    ? "no such file or directory"
                                : errno == EACCES  ? "permission denied"
                                : errno == ENOTDIR ? "not a directory"
                                                   : std::generic_category().message(errno)),
                    errno);
    if (is_left_out("CVE-2024-21626")) return;
    // A descriptor of the host, reached by /proc/self/fd/N, would be outside of the root (CVE-2024-21626).
    std::array<char, 4096> path{};
    if (::syscall(SYS_getcwd, path.data(), path.size()) < 0 || path[0] != '/')
        fail(ErrorKind::forbidden, "chdir to cwd ({:?}): the current working directory is outside of the container", cwd);
}

/// What the steps opened is closed before the image's words are followed: /proc/self/fd/N leads to none of it (CVE-2024-21626).
void close_all_but(const Plan& plan, int channel) {
    if (is_left_out("CVE-2024-21626")) return;
    std::array<int, 2> kept{channel, plan.start_fifo ? plan.start_fifo.get() : channel};
    std::ranges::sort(kept);
    unsigned first = 3U + static_cast<unsigned>(plan.preserved_fds);
    for (const int fd : kept) {
        const auto end = static_cast<unsigned>(fd);
        if (end > first) ::syscall(SYS_close_range, first, end - 1, 0);
        first = std::max(first, end + 1);
    }
    ::syscall(SYS_close_range, first, ~0U, 0);
}

std::vector<std::string> environment_of(const Plan& plan, const std::string& home) {
    std::vector<std::string> environment = plan.process->env;
    if (variable(environment, "HOME").empty()) {
        std::erase_if(environment, [](const auto& each) { return each.starts_with("HOME="); });
        environment.push_back("HOME=" + home);
    }
    return environment;
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
    std::vector<char*> out;
    out.reserve(texts.size() + 1);
    for (const std::string& text : texts) out.push_back(const_cast<char*>(text.c_str()));
    out.push_back(nullptr);
    return out;
}

}  // namespace

void use_stdio(const Plan& plan, Progress& progress) {
    std::array<int, 3> wanted{plan.stdio.in, plan.stdio.out, plan.stdio.err};
    if (progress.terminal) wanted.fill(progress.terminal.get());
    // Out of the way first: a wanted descriptor may itself be 0, 1 or 2.
    std::array<Fd, 3> copies;
    for (std::size_t i = 0; i < 3; ++i) {
        const int from = wanted[i] >= 0 ? wanted[i] : plan.null.get();
        copies[i] = Fd{::fcntl(from, F_DUPFD_CLOEXEC, 3 + plan.preserved_fds)};
        if (!copies[i]) fail_errno("standard stream {}", i);
    }
    for (std::size_t i = 0; i < 3; ++i) {
        if (::dup2(copies[i].get(), static_cast<int>(i)) < 0) fail_errno("standard stream {}", i);
    }
    if (progress.terminal && ::ioctl(0, TIOCSCTTY, 0) != 0) fail_errno("make the terminal the controlling one");
}

void become_user(const Plan& plan, Progress& progress) {
    const oci::User& user = plan.process->user;
    Identity identity{user.uid, user.gid, user.additional_gids, {}};
    const bool by_name = !user.username.empty() || !user.additional_groups.empty();
    if (by_name || variable(plan.process->env, "HOME").empty()) {
        const Root root = Root::open("/");
        UserFiles files;
        try {
            files = read_user_files(root);
        } catch (const Error&) {
            if (by_name) throw;  // Else only HOME was to be had from it.
        }
        if (by_name) {
            identity = find_user(files, user.username, user.additional_groups);
            identity.groups.insert(identity.groups.end(), user.additional_gids.begin(), user.additional_gids.end());
        } else {
            identity.home = home_of(files.passwd, user.uid);
        }
    }
    progress.home = identity.home.empty() ? "/" : identity.home;
    give_stdio(identity.uid);

    const bool no_new_privileges = plan.process->no_new_privileges;
    if (no_new_privileges && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail_errno("no_new_privs");
    // Without no_new_privs a filter needs CAP_SYS_ADMIN, which is about to go.
    if (plan.seccomp && !no_new_privileges) (void)linux::load_seccomp(*plan.seccomp).release();
    if (plan.capabilities) linux::limit_bounding(plan.capabilities->bounding);
    if (::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) fail_errno("keep capabilities");
    if (::syscall(SYS_setgroups, identity.groups.size(), identity.groups.data()) != 0 && !(errno == EPERM && identity.groups.empty()))
        fail_errno("set the groups");
    if (::syscall(SYS_setresgid, identity.gid, identity.gid, identity.gid) != 0) fail_errno("become group {}", identity.gid);
    if (::syscall(SYS_setresuid, identity.uid, identity.uid, identity.uid) != 0) fail_errno("become user {}", identity.uid);
    // A change of user makes a process that can be traced again; the host's descriptors are still open here.
    if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) fail_errno("dumpable");
    ::umask(user.umask.value_or(0022));
}

void execute(const Plan& plan, Progress& progress) {
    close_all_but(plan, progress.channel->fd());
    enter_directory(plan.process->cwd);
    if (plan.capabilities) linux::set_capabilities(*plan.capabilities);
    if (::prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) != 0) fail_errno("keep capabilities");

    const std::vector<std::string> environment = environment_of(plan, progress.home);
    const std::string program = find_program(plan.process->args.front(), environment);
    if (plan.start_fifo) {
        progress.channel->send(Word::ready);
        char byte = 0;
        while (::read(plan.start_fifo.get(), &byte, 1) < 0) {
            if (errno != EINTR) fail_errno("wait for start");
        }
    }
    linux::close_on_exec_from(3U + static_cast<unsigned>(plan.preserved_fds));
    const std::vector<char*> arguments = pointers(plan.process->args);
    const std::vector<char*> variables = pointers(environment);
    if (plan.seccomp && plan.process->no_new_privileges) (void)linux::load_seccomp(*plan.seccomp).release();
    ::execve(program.c_str(), arguments.data(), variables.data());

    const int error = errno;
    const ErrorKind kind = error == ENOENT ? ErrorKind::not_found : ErrorKind::forbidden;
    const char* text = error == ENOENT    ? "no such file or directory"
                       : error == EACCES  ? "permission denied"
                       : error == ENOEXEC ? "exec format error"
                                          : nullptr;
    throw Error(kind, fmt::format("exec {}: {}", program, text ? text : std::generic_category().message(error)), error);
}

void run_child(const Plan& plan, const Channel& channel, const Step* steps, std::size_t count) noexcept {
    Progress progress;
    progress.channel = &channel;
    const char* doing = "";
    try {
        for (std::size_t i = 0; i < count; ++i) {
            doing = steps[i].doing;
            steps[i].run(plan, progress);
        }
        doing = "";
        execute(plan, progress);
    } catch (Error& error) {
        if (*doing) error.add_context(doing);
        channel.send(error);
    } catch (const std::exception& error) {
        channel.send(Error{ErrorKind::system, error.what()});
    }
    ::_exit(127);
}

void Progress::need_cgroup() {
    if (!cgroup_ready) channel->expect(Word::cgroup_ready);
    cgroup_ready = true;
}

}  // namespace grua::runtime
