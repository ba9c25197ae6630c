#include "terminal.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/passed_descriptor.hpp"
#include "base/unix_address.hpp"
#include "linux/process.hpp"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <array>
#include <cstring>
#include <optional>

namespace grua::app {
namespace {

class RawTerminal {
public:
    RawTerminal() {
        if (::tcgetattr(0, &before_) != 0) return;
        termios raw = before_;
        ::cfmakeraw(&raw);
        changed_ = ::tcsetattr(0, TCSADRAIN, &raw) == 0;
    }
    RawTerminal(const RawTerminal&) = delete;
    RawTerminal& operator=(const RawTerminal&) = delete;
    ~RawTerminal() {
        if (changed_) ::tcsetattr(0, TCSADRAIN, &before_);
    }

private:
    termios before_{};
    bool changed_ = false;
};

void copy_size(int terminal) {
    winsize size{};
    if (::ioctl(0, TIOCGWINSZ, &size) == 0) ::ioctl(terminal, TIOCSWINSZ, &size);
}

/// False at the end of `from`.
bool copy_some(int from, int to) {
    std::array<char, 16384> bytes{};
    const ssize_t got = ::read(from, bytes.data(), bytes.size());
    if (got < 0 && errno == EINTR) return true;
    if (got <= 0) return false;
    write_all(to, std::string_view(bytes.data(), static_cast<std::size_t>(got)), "terminal");
    return true;
}

/// What a container without a PID namespace of its own leaves to us, its reaper.
void reap_others(pid_t init) {
    siginfo_t ended{};
    while (::waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid != 0 && ended.si_pid != init) {
        if (::waitpid(ended.si_pid, nullptr, 0) < 0) return;
        ended = {};
    }
}

}  // namespace

sigset_t block_signals() {
    sigset_t signals;
    ::sigemptyset(&signals);
    for (const int number : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT, SIGALRM, SIGCHLD})
        ::sigaddset(&signals, number);
    ::sigprocmask(SIG_BLOCK, &signals, nullptr);
    return signals;
}

void send_descriptor(const std::string& path, std::string_view name, int fd) {
    const auto address = unix_address(path);
    if (!address) fail(ErrorKind::invalid_argument, "socket {}: the path is too long", path);
    const Fd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (!socket || ::connect(socket.get(), plain(*address), sizeof *address) != 0) fail_errno("socket {}", path);
    iovec part{const_cast<char*>(name.data()), name.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    const PassedDescriptor passed{message, fd};
    if (::sendmsg(socket.get(), &message, MSG_NOSIGNAL) < 0) fail_errno("socket {}", path);
}

void Relay::run() const {
    const Fd signals{::signalfd(-1, &signals_, SFD_CLOEXEC)};
    if (!signals) fail_errno("signalfd");
    std::optional<RawTerminal> raw;
    if (terminal_ >= 0) {
        copy_size(terminal_);
        raw.emplace();
    }
    std::array<pollfd, 4> wait{
        {{pidfd_, POLLIN, 0}, {signals.get(), POLLIN, 0}, {terminal_, POLLIN, 0}, {terminal_ >= 0 ? 0 : -1, POLLIN, 0}}};
    for (;;) {
        if (::poll(wait.data(), wait.size(), -1) < 0 && errno != EINTR) fail_errno("poll");
        if ((wait[2].revents & (POLLIN | POLLHUP)) != 0 && !copy_some(terminal_, 1)) wait[2].fd = -1;
        if ((wait[3].revents & (POLLIN | POLLHUP)) != 0 && !copy_some(0, terminal_)) wait[3].fd = -1;
        if ((wait[1].revents & POLLIN) != 0) {
            signalfd_siginfo got{};
            if (::read(signals.get(), &got, sizeof got) == sizeof got) {
                if (got.ssi_signo == SIGCHLD)
                    reap_others(pid_);
                else if (got.ssi_signo == SIGWINCH && terminal_ >= 0)
                    copy_size(terminal_);
                else
                    ::kill(pid_, static_cast<int>(got.ssi_signo));  // Ours and not reaped yet.
            }
        }
        if (wait[0].revents != 0) break;
    }
    // What the terminal still holds; it may stay open in the hands of others, so only what is there.
    pollfd rest{wait[2].fd, POLLIN, 0};
    while (rest.fd >= 0 && ::poll(&rest, 1, 0) > 0 && copy_some(terminal_, 1)) {
    }
}

}  // namespace grua::app
