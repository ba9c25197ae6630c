// The last part of every start, of a container's init as of an exec: what the process may, then execve.
//
// A program that joins a PID namespace is seen in it, by root there with all that /proc shows, from its birth to its execve. So it is born
// last (hop): the process before it, whom nobody there sees, has joined everything else, has closed what is the host's and has become
// the user. It shares no socket with the parent either; the Outcome says what went wrong.
//
// After the filter comes execve and nothing else, so that a profile need not know what the runtime does. To load one without no_new_privs
// takes CAP_SYS_ADMIN, which is kept for it: execve leaves it only to whom it is given (capabilities(7), "Transformation of
// capabilities during execve()"). Where somebody inside may trace the process, it is not there to be taken: then the filter comes before.
#include "linux/process.hpp"
#include "base/error.hpp"
#include "base/test_points.hpp"
#include "linux/apparmor.hpp"
#include "runtime/hooks.hpp"
#include "runtime/plan.hpp"
#include "runtime/program.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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
    // All that its cgroup allows; the kernel takes the rest away.
    std::array<unsigned long, 128> processors;
    processors.fill(~0UL);
    [[maybe_unused]] const long set = ::syscall(SYS_sched_setaffinity, 0, sizeof processors, processors.data());
    if (::setsid() < 0) fail_errno("setsid");
    ::umask(0);
}

namespace {

constexpr unsigned cap_sys_admin = 21;

bool enter_directory(const std::string& cwd) {
    if (::chdir(cwd.c_str()) != 0) return false;
    if (is_left_out("CVE-2024-21626")) return true;
    // A descriptor of the host, reached by /proc/self/fd/N, would be outside of the root (CVE-2024-21626).
    std::array<char, 4096> path{};
    if (::syscall(SYS_getcwd, path.data(), path.size()) < 0 || path[0] != '/')
        fail(ErrorKind::forbidden, "chdir to cwd ({:?}): the current working directory is outside of the container", cwd);
    return true;
}

void need_directory(const std::string& cwd) {
    if (enter_directory(cwd)) return;
    throw Error(errno == ENOENT ? ErrorKind::not_found : ErrorKind::system,
                fmt::format("chdir to cwd ({:?}) set in config.json failed: {}", cwd,
                            errno == ENOENT    ? "no such file or directory"
                            : errno == EACCES  ? "permission denied"
                            : errno == ENOTDIR ? "not a directory"
                                               : std::generic_category().message(errno)),
                errno);
}

/// What the steps opened is closed before the image's words are followed: /proc/self/fd/N leads to none of it (CVE-2024-21626).
void close_all_but(const Plan& plan, int channel) {
    if (is_left_out("CVE-2024-21626")) return linux::close_on_exec_from(3U + static_cast<unsigned>(plan.preserved_fds));
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
    std::vector<std::string> environment = last_of_each(plan.process->env);
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

void load_filter(const Plan& plan, Progress& progress) {
    if (plan.seccomp && !progress.is_filtered) (void)linux::load_seccomp(*plan.seccomp).release();
    progress.is_filtered = true;
}

void take_capabilities(const Plan& plan) {
    linux::Capabilities wanted = plan.capabilities;
    wanted.ambient = wanted.ambient & wanted.permitted;
    if (plan.seccomp && !plan.process->no_new_privileges) {
        wanted.effective.add(cap_sys_admin);
        wanted.permitted.add(cap_sys_admin);
    }
    linux::set_capabilities(wanted);
    if (::prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) != 0) fail_errno("keep capabilities");
}

struct Words {
    std::vector<std::string> environment;
    std::string program;
    bool is_found = false;
};

/// In a process that is not in the PID namespace of the container's /proc nothing is found through it: that is left to the next one.
void find(const Plan& plan, Words& words) {
    try {
        words.program = find_program(plan.process->args.front(), words.environment);
        words.is_found = true;
    } catch (const Error&) {
        if (!plan.pid_namespace) throw;
    }
}

void wait_for_start(const Plan& plan, Progress& progress) {
    progress.channel->send(Word::ready);
    progress.channel->close();
    char byte = 0;
    while (::read(plan.start_fifo.get(), &byte, 1) < 0) {
        if (errno != EINTR) fail_errno("wait for start");
    }
}

void container_hooks(const Plan& plan, const Progress& progress, const Words& words) {
    if (!plan.runs_hooks || plan.spec->hooks->start_container.empty()) return;
    const std::string state = state_json(plan.id, "created", ::getpid(), plan.bundle, *plan.spec);
    run_hooks(plan.spec->hooks->start_container, state, "startContainer",
              {.environment = &words.environment, .filter = progress.is_filtered ? nullptr : plan.seccomp});
}

/// In the process that becomes the program.
[[noreturn]] void finish(const Plan& plan, Progress& progress, Words& words) {
    if (plan.pid_namespace && ::setsid() < 0) fail_errno("setsid");
    if (plan.process->terminal && ::ioctl(0, TIOCSCTTY, 0) != 0) fail_errno("make the terminal the controlling one");
    if (!progress.in_working_directory) need_directory(plan.process->cwd);
    if (!words.is_found) words.program = find_program(plan.process->args.front(), words.environment);
    if (plan.start_fifo) wait_for_start(plan, progress);
    container_hooks(plan, progress, words);

    const std::vector<char*> arguments = pointers(plan.process->args);
    const std::vector<char*> variables = pointers(words.environment);
    plan.outcome.about_to_execute(words.program);
    load_filter(plan, progress);
    ::execve(words.program.c_str(), arguments.data(), variables.data());
    plan.outcome.execve_failed(errno);
    ::_exit(127);
}

/// Makes the process that becomes the program, in the PID namespace and as a child of our parent, and ends. The parent waits for that
/// end, which with CLONE_VFORK comes when the program executes or has failed.
void hop(const Plan& plan, Progress& progress) {
    if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) fail_errno("dumpable");
    // clone and not clone3, which profiles refuse because a filter cannot look at its arguments.
    unsigned long flags = CLONE_PARENT | CLONE_PARENT_SETTID | SIGCHLD;
    if (!plan.start_fifo) {
        flags |= CLONE_VFORK;
        progress.channel->close();
    }
    if (plan.has_tracers) {
        load_filter(plan, progress);
        linux::set_capabilities(plan.capabilities);
    }
    const long pid = ::syscall(SYS_clone, flags, nullptr, plan.outcome.program(), nullptr, nullptr);
    if (pid < 0) fail_errno("fork into the PID namespace");
    if (pid > 0) ::_exit(0);
}

[[noreturn]] void execute(const Plan& plan, Progress& progress) {
    if (!plan.apparmor_profile.empty()) linux::set_exec_profile(plan.apparmor_profile);
    if (plan.pid_namespace && ::setns(plan.pid_namespace.get(), CLONE_NEWPID) != 0) fail_errno("join the PID namespace");
    close_all_but(plan, progress.channel->fd());
    // Once as root, who may enter what the user may not, then as the user, whom a file system may know that does not know root.
    progress.in_working_directory = enter_directory(plan.process->cwd);
    become_user(plan, progress);
    if (!progress.in_working_directory) {
        progress.in_working_directory = enter_directory(plan.process->cwd);
        if (!progress.in_working_directory && !plan.pid_namespace) need_directory(plan.process->cwd);
    }
    take_capabilities(plan);
    Words words{.environment = environment_of(plan, progress.home), .program = {}};
    find(plan, words);
    if (plan.pid_namespace) hop(plan, progress);
    finish(plan, progress, words);
}

}  // namespace

void run_child(const Plan& plan, Channel& channel, const Step* steps, std::size_t count) noexcept {
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
    } catch (const Error& error) {
        plan.outcome.failed(error, doing);
    } catch (const std::exception& error) {
        plan.outcome.failed(Error{ErrorKind::system, error.what()}, doing);
    }
    ::_exit(127);
}

void Progress::need_cgroup() {
    if (!cgroup_ready) channel->expect(Word::cgroup_ready);
    cgroup_ready = true;
}

}  // namespace grua::runtime
