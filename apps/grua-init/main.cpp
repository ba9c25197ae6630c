// PID 1 for programs that do not know how to be it (`docker run --init`): starts the program, hands it every signal, reaps
// whatever is orphaned, and ends with the program's status. Bound read-only at /sbin/docker-init.
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <initializer_list>

namespace {

int status_of(int status) { return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status); }

/// Reaps all that has ended; true where the program itself was among it.
bool reap(pid_t program, int& status) {
    bool ended = false;
    for (int each = 0;;) {
        const pid_t pid = ::waitpid(-1, &each, WNOHANG);
        if (pid <= 0) return ended;
        if (pid == program) {
            status = each;
            ended = true;
        }
    }
}

}  // namespace

int main(int count, char** arguments) {
    if (count > 1 && std::strcmp(arguments[1], "--") == 0) {
        ++arguments;
        --count;
    }
    if (count < 2) {
        std::fputs("usage: grua-init [--] program [argument...]\n", stderr);
        return 1;
    }
    // Blocked before there is a child: no signal can fall between.
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    for (const int number : {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS}) ::sigdelset(&all, number);
    ::sigprocmask(SIG_SETMASK, &all, &before);

    // Not sigwait(), which unblocks what it waits for: whoever looks at /proc for whether a signal would be heard sees it blocked.
    const int signals = ::signalfd(-1, &all, SFD_CLOEXEC);
    if (signals < 0) {
        std::perror("grua-init: signalfd");
        return 1;
    }
    const pid_t program = ::fork();
    if (program < 0) {
        std::perror("grua-init: fork");
        return 1;
    }
    if (program == 0) {
        ::setpgid(0, 0);
        ::signal(SIGTTOU, SIG_IGN);
        ::tcsetpgrp(0, ::getpgrp());  // Where there is a terminal, the program is in its foreground.
        ::signal(SIGTTOU, SIG_DFL);
        ::sigprocmask(SIG_SETMASK, &before, nullptr);
        ::execvp(arguments[1], arguments + 1);
        const int error = errno;
        std::fprintf(stderr, "grua-init: %s: %s\n", arguments[1], std::strerror(error));
        ::_exit(error == ENOENT ? 127 : 126);
    }
    for (int status = 0;;) {
        signalfd_siginfo signal{};
        if (::read(signals, &signal, sizeof signal) != sizeof signal) continue;
        if (signal.ssi_signo != SIGCHLD) {
            ::kill(program, static_cast<int>(signal.ssi_signo));
        } else if (reap(program, status)) {
            return status_of(status);
        }
    }
}
