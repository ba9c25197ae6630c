// ssh://: the ssh program, and at its other end a `system dial-stdio` that connects its standard streams with the daemon there.
#include "base/error.hpp"
#include "base/text.hpp"
#include "client/endpoint.hpp"

#include <linux/close_range.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <array>
#include <chrono>
#include <csignal>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

namespace grua::client::detail {

namespace {

/// Of what ssh says when it fails.
constexpr std::size_t said_limit = 4096;
/// From the end of its stream to that of ssh, which tells why only then.
constexpr auto end_patience = std::chrono::seconds(2);

/// For the shell at the other end.
std::string shell_quoted(std::string_view word) {
    std::string out = "'";
    for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return out + "'";
}

/// grua's daemon where there is one, as here; else Docker's.
std::string remote_command(const Endpoint& endpoint) {
    const std::string host = endpoint.path.empty() ? std::string() : "--host " + shell_quoted("unix://" + endpoint.path) + " ";
    return "sh -c " +
           shell_quoted(fmt::format(
               "if command -v grua >/dev/null 2>&1; then exec grua {0}system dial-stdio; else exec docker {0}system dial-stdio; fi", host));
}

std::vector<std::string> arguments_of(const Endpoint& endpoint) {
    std::vector<std::string> out{"ssh", "-o", "ConnectTimeout=30", "-T"};
    if (!endpoint.user.empty()) out.insert(out.end(), {"-l", endpoint.user});
    if (!endpoint.port.empty()) out.insert(out.end(), {"-p", endpoint.port});
    out.insert(out.end(), {"--", endpoint.address, remote_command(endpoint)});
    return out;
}

/// The ssh of one connection.
class Ssh {
public:
    Ssh(pid_t pid, Fd said, std::string host) : pid_(pid), said_(std::move(said)), host_(std::move(host)) {}

    std::string why_ended() const {
        int status = 0;
        const auto until = std::chrono::steady_clock::now() + end_patience;
        pid_t ended = 0;
        while ((ended = ::waitpid(pid_, &status, WNOHANG)) == 0 && std::chrono::steady_clock::now() < until)
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        std::array<char, said_limit> text;
        const ssize_t size = ::pread(said_.get(), text.data(), text.size(), 0);
        const std::string_view said = trim(std::string_view(text.data(), size > 0 ? static_cast<std::size_t>(size) : 0));
        if (ended <= 0 && said.empty()) return {};
        const std::string how = ended <= 0          ? ""
                                : WIFEXITED(status) ? fmt::format("ended with {}", WEXITSTATUS(status))
                                                    : fmt::format("was ended by signal {}", WTERMSIG(status));
        return fmt::format("ssh {}: {}{}{}", host_, how, how.empty() || said.empty() ? "" : ": ", said);
    }

private:
    pid_t pid_;
    Fd said_;
    std::string host_;
};

[[noreturn]] void become_ssh(int stream, int said, char* const* arguments) {
    // Ctrl-C is this program's: ssh goes when its stream ends.
    ::setsid();
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    if (::dup2(stream, STDIN_FILENO) < 0 || ::dup2(stream, STDOUT_FILENO) < 0 || ::dup2(said, STDERR_FILENO) < 0) ::_exit(127);
    ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
    ::execvp(arguments[0], arguments);
    const char* why = std::strerror(errno);
    static_cast<void>(!::write(STDERR_FILENO, why, std::strlen(why)));
    ::_exit(127);
}

}  // namespace

Endpoint parse_ssh(std::string_view text) {
    const auto wrong = [](std::string_view why) { fail(ErrorKind::invalid_argument, "ssh host connection is not valid: {}", why); };
    Endpoint out{.kind = Endpoint::Kind::ssh};
    const std::size_t slash = text.find('/');
    std::string_view host = text.substr(0, slash);
    if (slash != std::string_view::npos && text.substr(slash).find_first_not_of('/') != std::string_view::npos)
        out.path = text.substr(slash);
    if (text.find_first_of("?#") != std::string_view::npos) wrong("a query or a fragment has no meaning");
    if (const std::size_t at = host.rfind('@'); at != std::string_view::npos) {
        out.user = host.substr(0, at);
        host.remove_prefix(at + 1);
        if (out.user.contains(':')) wrong("plain-text password is not supported");
        if (out.user.empty() || out.user.starts_with('-')) wrong(fmt::format("no name of a user: {:?}", out.user));
    }
    std::size_t colon = host.rfind(':');
    if (host.starts_with('[')) {
        const std::size_t close = host.find(']');
        if (close == std::string_view::npos) wrong("no closing bracket");
        colon = close + 1 < host.size() && host[close + 1] == ':' ? close + 1 : std::string_view::npos;
        out.address = host.substr(1, close - 1);
    } else {
        out.address = host.substr(0, colon);
    }
    if (colon != std::string_view::npos) {
        out.port = host.substr(colon + 1);
        const auto port = parse_uint(out.port);
        if (!port || *port == 0 || *port > 65535) wrong(fmt::format("invalid port {:?}", out.port));
    }
    if (out.address.empty()) wrong("no host specified");
    // ssh would take it for an option, were it not for the "--" before it; it is no name of a host in any case.
    if (out.address.starts_with('-')) wrong(fmt::format("no name of a host: {:?}", out.address));
    return out;
}

Link connect_ssh(const Endpoint& endpoint) {
    std::vector<std::string> words = arguments_of(endpoint);
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) fail_errno("make a socket pair");
    Fd ours{ends[0]};
    const Fd theirs{ends[1]};
    // A file, not a pipe: nobody has to read it for ssh to go on.
    Fd said{::memfd_create("ssh", MFD_CLOEXEC)};
    if (!said) fail_errno("make a file in memory");
    const pid_t pid = ::fork();
    if (pid < 0) fail_errno("start ssh");
    if (pid == 0) become_ssh(theirs.get(), said.get(), arguments.data());
    const auto ssh = std::make_shared<const Ssh>(pid, std::move(said), endpoint.address);
    return {.socket = std::move(ours), .why_ended = [ssh] { return ssh->why_ended(); }};
}

}  // namespace grua::client::detail
