#include "build/git_program.hpp"

#include "base/files.hpp"
#include "base/log.hpp"
#include "base/test_points.hpp"
#include "base/text.hpp"
#include "base/utf8.hpp"
#include "build/child_program.hpp"
#include "linux/process.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>

namespace grua::build {
namespace {

namespace fs = std::filesystem;

constexpr std::pair oldest_version{2, 31};  ///< The first that takes configuration from its environment.
constexpr std::size_t line_limit = std::size_t{8} << 10U;
constexpr std::size_t output_limit = std::size_t{4} << 20U;
constexpr std::size_t environment_limit = std::size_t{256} << 10U;
constexpr std::chrono::seconds local_silence{1800};  ///< Of what asks nobody: a large tree on a slow disk.
constexpr std::string_view usual_path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr std::string_view hidden = "xxxxx";
constexpr std::string_view depth_word = "--depth=1";

std::string_view variable(const char* name) {
    const char* const value = std::getenv(name);
    return value ? std::string_view(value) : std::string_view{};
}

std::string search_path() {
    const std::string_view given = variable("PATH");
    return std::string(given.empty() ? usual_path : given);
}

/// Root's own keys and files are no foreign build's.
std::string ssh_command(const GitAccess* access) {
    std::string out = "ssh -F /dev/null -o BatchMode=yes -o IdentityFile=none -o ConnectTimeout=30 -o ServerAliveInterval=15";
    if (!access || access->ssh_agent.empty()) out += " -o IdentityAgent=none";
    if (access && !access->known_hosts.empty())
        out += " -o StrictHostKeyChecking=yes -o UserKnownHostsFile=" + shell_quoted(access->known_hosts);
    else
        out += " -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR";
    return out;
}

/// What it prints, line by line: without secrets, and without the lines of progress that follow each other in one place.
class Lines {
public:
    Lines(const GitPrinted& printed, const GitAccess* access) : printed_(printed) {
        if (!access || access->authorization.empty()) return;
        secrets_.push_back(access->authorization);
        const std::size_t blank = access->authorization.rfind(' ');
        if (blank != std::string::npos) secrets_.push_back(access->authorization.substr(blank + 1));
    }

    void take(int stream, std::string_view bytes) {
        if (!printed_) return;
        std::string& rest = rest_.at(static_cast<std::size_t>(stream) - 1);
        for (const char c : bytes) {
            if (c == '\n') {
                if (rest.ends_with('\r')) rest.pop_back();
                tell(stream, rest);
                rest.clear();
                continue;
            }
            // What comes in its place, and not on a line of its own.
            if (rest.ends_with('\r')) rest.clear();
            if (rest.size() < line_limit || c == '\r') rest += c;
        }
    }
    void end() {
        for (int stream : {1, 2})
            if (const std::string& rest = rest_.at(static_cast<std::size_t>(stream) - 1); !rest.empty()) tell(stream, rest);
    }

    std::string without_secrets(std::string text) const {
        for (const std::string& each : secrets_) {
            if (each.empty()) continue;
            for (std::size_t at = text.find(each); at != std::string::npos; at = text.find(each, at + hidden.size()))
                text.replace(at, each.size(), hidden);
        }
        return text;
    }

    /// For an error: the last state of what was told in one place.
    std::string for_error(std::string_view said) const {
        std::string out;
        for (const std::string& line : split(said, '\n')) {
            const std::string_view last = std::string_view(line).substr(line.rfind('\r') + 1);
            if (last.empty() || is_progress(last)) continue;
            out.append(last).append("\n");
        }
        return to_valid_utf8(without_secrets(std::move(out)));
    }

private:
    static bool is_progress(std::string_view line) { return line.contains("% (") && line.contains('/'); }
    void tell(int stream, const std::string& line) const {
        if (!is_progress(line)) printed_(stream, without_secrets(line));
    }

    const GitPrinted& printed_;
    std::vector<std::string> secrets_;
    std::array<std::string, 2> rest_;
};

}  // namespace

std::string shell_quoted(std::string_view word) {
    std::string out = "'";
    for (const char c : word) {
        if (c == '\'')
            out += "'\\''";
        else
            out += c;
    }
    return out + "'";
}

std::string git_token_scope(std::string_view remote) {
    for (const std::string_view prefix : {"https://github.com/", "https://www.github.com/"})
        if (remote.starts_with(prefix)) return std::string(prefix);
    return std::string(remote);
}

std::optional<std::pair<int, int>> parse_git_version(std::string_view text) {
    constexpr std::string_view prefix = "git version ";
    if (!text.starts_with(prefix)) return std::nullopt;
    const std::vector<std::string> numbers = split(trim(text.substr(prefix.size())), '.');
    if (numbers.size() < 2) return std::nullopt;
    const auto major = parse_uint(numbers[0]);
    const auto minor = parse_uint(numbers[1]);
    if (!major || !minor || *major > 1000 || *minor > 1000) return std::nullopt;
    return std::pair{static_cast<int>(*major), static_cast<int>(*minor)};
}

std::vector<std::string> GitProgram::environment(const GitCall& call) const {
    std::vector<std::string> out{
        "PATH=" + search_path(),
        "LC_ALL=C",
        "HOME=/dev/null",
        "GIT_CONFIG_NOSYSTEM=1",
        "GIT_CONFIG_GLOBAL=/dev/null",
        "GIT_ATTR_NOSYSTEM=1",
        "GIT_TEMPLATE_DIR=",
        "GIT_TERMINAL_PROMPT=0",
        mark(),
        "GIT_SSH_COMMAND=" + ssh_command(call.access),
    };
    for (const char* name : {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"})
        if (const std::string_view value = variable(name); !value.empty()) out.push_back(fmt::format("{}={}", name, value));
    std::vector<std::pair<std::string, std::string>> settings{
        {"core.hooksPath", "/dev/null"},
        {"core.fsmonitor", "false"},
        {"core.logAllRefUpdates", "false"},
        {"core.askPass", ""},
        {"credential.helper", ""},
        {"gc.auto", "0"},
        {"maintenance.auto", "false"},
        {"fetch.recurseSubmodules", "false"},
        {"fetch.unpackLimit", "1"},  // A pack for each fetch, by which the cache counts them.
        {"init.defaultBranch", "master"},
        {"advice.detachedHead", "false"},
        {"safe.bareRepository", "explicit"},
        {"http.lowSpeedLimit", "1"},
        {"http.lowSpeedTime", fmt::format("{}", options_.silence.count())},
        {"protocol.allow", "never"},
    };
    for (const char* each : {"http", "https", "ssh", "git"}) settings.emplace_back(fmt::format("protocol.{}.allow", each), "always");
    // "user": not for what a repository names, which are its submodules (CVE-2022-39253).
    const bool may_read_files = call.may_read_files || options_.files == GitFiles::allowed;
    settings.emplace_back("protocol.file.allow", is_left_out("CVE-2022-39253") ? "always" : may_read_files ? "user" : "never");
    if (const GitAccess* access = call.access) {
        settings.emplace_back("remote.origin.url", access->remote);
        if (!access->authorization.empty())
            settings.emplace_back(fmt::format("http.{}.extraHeader", access->authorized), "Authorization: " + access->authorization);
        if (!access->ssh_agent.empty()) out.push_back("SSH_AUTH_SOCK=" + access->ssh_agent);
    }
    out.push_back(fmt::format("GIT_CONFIG_COUNT={}", settings.size()));
    for (std::size_t number = 0; number < settings.size(); ++number) {
        out.push_back(fmt::format("GIT_CONFIG_KEY_{}={}", number, settings[number].first));
        out.push_back(fmt::format("GIT_CONFIG_VALUE_{}={}", number, settings[number].second));
    }
    return out;
}

void GitProgram::end_leftover() const {
    const auto is_ours = [mark = mark()](const fs::path& process) {
        try {
            const std::vector<std::string> variables = split(read_file(process / "environ", environment_limit), '\0');
            return std::ranges::find(variables, mark) != variables.end();
        } catch (const Error&) {
            return false;  // It has ended, or it is none of ours: they have few variables.
        }
    };
    std::error_code error;
    for (const auto& each : fs::directory_iterator("/proc", error)) {
        const auto pid = parse_uint(each.path().filename().string());
        if (!pid || !is_ours(each.path())) continue;
        try {
            const Fd process = linux::open_pidfd(static_cast<pid_t>(*pid));
            // Under that number there may be another by now.
            if (!is_ours(each.path())) continue;
            log::info("a git (process {}) that a build of an earlier gruad began is ended", *pid);
            linux::send_signal(process.get(), SIGKILL);
        } catch (const Error& failure) {
            if (failure.kind() != ErrorKind::not_found) log::warn("a git of an earlier gruad: {}", failure.what());
        }
    }
}

std::string GitProgram::program(const std::stop_token& stop) const {
    {
        const MutexLock lock(mutex_);
        if (!found_.empty()) return found_;
    }
    const std::string path = find_program(options_.program, search_path());
    if (path.empty()) fail(ErrorKind::not_found, "git is not installed on the engine's host");
    const ChildOutcome outcome =
        run_child_program({.program = path, .words = {"version"}, .environment = environment({}), .silence = options_.silence}, stop);
    const auto version = parse_git_version(outcome.output);
    if (outcome.status != 0 || !version)
        fail(ErrorKind::system, "git on the engine's host does not say its version: {}", describe_status(outcome.status));
    if (*version < oldest_version)
        fail(ErrorKind::not_implemented, "git on the engine's host is {}.{}: {}.{} or newer is needed", version->first, version->second,
             oldest_version.first, oldest_version.second);
    const MutexLock lock(mutex_);
    found_ = path;
    return path;
}

std::string GitProgram::run(const GitCall& call, const std::stop_token& stop) const {
    Lines lines(call.printed, call.access);
    ChildProgram child{.program = program(stop),
                       .words = {},
                       .environment = environment(call),
                       .folder = call.tree.empty() ? options_.folder : call.tree,
                       .inherited = call.inherited,
                       .silence = call.access ? options_.silence : local_silence,
                       .output_limit = output_limit,
                       .printed = [&lines](int stream, std::string_view bytes) { lines.take(stream, bytes); }};
    if (!call.repository.empty()) child.words.push_back("--git-dir=" + call.repository);
    if (!call.tree.empty()) child.words.push_back("--work-tree=" + call.tree);
    child.words.insert(child.words.end(), call.words.begin(), call.words.end());
    ChildOutcome outcome = run_child_program(child, stop);
    lines.end();
    const std::string said = lines.for_error(outcome.said);
    if (outcome.was_silent) throw GitError(fmt::format("git stderr:\n{}: nothing came for {} s", said, child.silence.count()), said);
    if (outcome.was_too_loud) throw GitError(fmt::format("git stderr:\n{}: its output is larger than {} bytes", said, output_limit), said);
    if (outcome.status != 0) throw GitError(fmt::format("git stderr:\n{}: {}", said, describe_status(outcome.status)), said);
    return std::move(outcome.output);
}

std::string GitProgram::run_shallow(const GitCall& call, const std::stop_token& stop) const {
    try {
        return run(call, stop);
    } catch (const GitError& error) {
        if (!error.says("--depth") && !error.says("shallow")) throw;
        if (std::ranges::find(call.words, depth_word) == call.words.end()) throw;
    }
    GitCall whole = call;
    std::erase(whole.words, depth_word);
    return run(whole, stop);
}

}  // namespace grua::build
