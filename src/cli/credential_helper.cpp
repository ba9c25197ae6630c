// docker-credential-* programs: one action as argument, what it is about on standard input, an answer on standard output.
#include "cli/docker_config.hpp"

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/files.hpp"
#include "base/text.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>

namespace grua::cli::detail {

namespace {

std::string find_program(const std::string& name) {
    const char* path = std::getenv("PATH");
    for (const std::string& folder : split(path ? path : "/usr/local/bin:/usr/bin:/bin", ':')) {
        const std::string candidate = (folder.empty() ? "." : folder) + "/" + name;
        if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    }
    return {};
}

const char* doing(std::string_view action) {
    if (action == "get") return "getting";
    if (action == "store") return "storing";
    return "erasing";
}

struct Pipe {
    Fd read_end;
    Fd write_end;

    Pipe() {
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail_errno("pipe");
        read_end = Fd(ends[0]);
        write_end = Fd(ends[1]);
    }
};

/// A helper that does not read what it is told is no reason to end.
class IgnoredPipeSignal {
public:
    IgnoredPipeSignal() : before_(std::signal(SIGPIPE, SIG_IGN)) {}
    ~IgnoredPipeSignal() { std::signal(SIGPIPE, before_); }
    IgnoredPipeSignal(const IgnoredPipeSignal&) = delete;
    IgnoredPipeSignal& operator=(const IgnoredPipeSignal&) = delete;

private:
    void (*before_)(int);
};

pid_t start(const std::string& program, const std::string& name, const std::string& action, int in, int out) {
    posix_spawn_file_actions_t files;
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    ::posix_spawnattr_setsigdefault(&attributes, &defaults);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    std::string first = name;
    std::string second = action;
    std::array<char*, 3> words{first.data(), second.data(), nullptr};
    pid_t pid = -1;
    const int error = ::posix_spawn(&pid, program.c_str(), &files, &attributes, words.data(), environ);
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&files);
    if (error != 0) {
        fail(ErrorKind::system, "error {} credentials - err: fork/exec {}: {}, out: ``", doing(action), program, std::strerror(error));
    }
    return pid;
}

}  // namespace

bool has_program(const std::string& name) { return !find_program(name).empty(); }

std::string call_credential_helper(const std::string& helper, const std::string& action, const std::string& input) {
    const std::string name = "docker-credential-" + helper;
    const std::string program = find_program(name);
    if (program.empty()) {
        fail(ErrorKind::not_found, "error {} credentials - err: exec: \"{}\": executable file not found in $PATH, out: ``", doing(action),
             name);
    }
    const IgnoredPipeSignal ignored;
    Pipe in;
    Pipe out;
    const pid_t pid = start(program, name, action, in.read_end.get(), out.write_end.get());
    in.read_end = Fd();
    out.write_end = Fd();
    for (std::string_view rest = input; !rest.empty();) {
        const ssize_t count = ::write(in.write_end.get(), rest.data(), rest.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) break;
        rest.remove_prefix(static_cast<std::size_t>(count));
    }
    in.write_end = Fd();
    std::string answer = read_all(out.read_end.get(), name);
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return answer;
    const std::string text(trim(answer));
    std::string why =
        WIFEXITED(status) ? fmt::format("exit status {}", WEXITSTATUS(status)) : fmt::format("signal: {}", ::strsignal(WTERMSIG(status)));
    if (text == "no credentials server URL" || text == "no credentials username") why = text;
    const ErrorKind kind = text == "credentials not found in native keychain" ? ErrorKind::not_found : ErrorKind::system;
    throw Error(kind, fmt::format("error {} credentials - err: {}, out: `{}`", doing(action), why, text));
}

}  // namespace grua::cli::detail
