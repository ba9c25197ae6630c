#include "cli/daemon_start.hpp"

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/text.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>

namespace grua::cli {

namespace {

constexpr const char* log_path = "/var/log/gruad.log";
constexpr auto patience = std::chrono::seconds(10);

/// Beside this program, or in PATH.
std::string find_gruad() {
    std::array<char, 4096> self;
    const ssize_t size = ::readlink("/proc/self/exe", self.data(), self.size());
    if (size > 0) {
        const std::string_view path(self.data(), static_cast<std::size_t>(size));
        const std::string beside = std::string(path.substr(0, path.rfind('/'))) + "/gruad";
        if (::access(beside.c_str(), X_OK) == 0) return beside;
    }
    const char* path = std::getenv("PATH");
    for (const std::string& folder : split(path ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", ':')) {
        const std::string candidate = folder + "/gruad";
        if (!folder.empty() && ::access(candidate.c_str(), X_OK) == 0) return candidate;
    }
    return {};
}

bool answers(const client::Endpoint& endpoint) {
    try {
        client::connect(endpoint);
        return true;
    } catch (const Error&) {
        return false;
    }
}

/// The child of a child in a session of its own, so that it outlives this program and its terminal. Tells its PID through a pipe.
pid_t launch(const std::string& gruad, int log) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail_errno("pipe");
    const Fd read_end{ends[0]};
    Fd write_end{ends[1]};
    const pid_t middle = ::fork();
    if (middle < 0) fail_errno("fork");
    if (middle == 0) {
        ::setsid();
        const pid_t daemon = ::fork();
        if (daemon != 0) {
            const ssize_t written = ::write(write_end.get(), &daemon, sizeof daemon);
            ::_exit(daemon > 0 && written == sizeof daemon ? 0 : 1);
        }
        const int null = ::open("/dev/null", O_RDWR);
        ::dup2(null, STDIN_FILENO);
        ::dup2(log, STDOUT_FILENO);
        ::dup2(log, STDERR_FILENO);
        if (::chdir("/") != 0) ::_exit(1);
        // What the shell left open is not the daemon's.
        ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
        ::execl(gruad.c_str(), "gruad", nullptr);
        const std::string why = fmt::format("{}: {}\n", gruad, std::strerror(errno));
        const ssize_t written = ::write(STDERR_FILENO, why.data(), why.size());
        static_cast<void>(written);
        ::_exit(127);
    }
    write_end = Fd();
    pid_t daemon = -1;
    const ssize_t got = ::read(read_end.get(), &daemon, sizeof daemon);
    int status = 0;
    ::waitpid(middle, &status, 0);
    if (got != sizeof daemon || daemon <= 0) fail(ErrorKind::unavailable, "start {}: fork failed", gruad);
    return daemon;
}

}  // namespace

void start_daemon(const client::Endpoint& endpoint) {
    const std::string gruad = find_gruad();
    if (gruad.empty()) {
        fail(ErrorKind::unavailable,
             "Cannot connect to the grua daemon at {}, and there is no gruad beside this program or in PATH to start", endpoint.text());
    }
    const Fd log{::open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640)};
    if (!log) fail_errno("open {}", log_path);
    const pid_t pid = launch(gruad, log.get());
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (!answers(endpoint)) {
        const bool gone = ::kill(pid, 0) != 0 && errno == ESRCH;
        if (gone) fail(ErrorKind::unavailable, "gruad ended while it started; see {}", log_path);
        if (std::chrono::steady_clock::now() > deadline)
            fail(ErrorKind::unavailable, "gruad (pid {}) does not answer at {}; see {}", pid, endpoint.text(), log_path);
        ::poll(nullptr, 0, 10);
    }
    fmt::print(stderr, "grua: started gruad (pid {}, log {})\n", pid, log_path);
}

}  // namespace grua::cli
