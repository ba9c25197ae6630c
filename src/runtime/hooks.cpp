#include "runtime/hooks.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/text.hpp"
#include "base/utf8.hpp"
#include "linux/process.hpp"
#include "runtime/container.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>

namespace grua::runtime {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t most_words = 2048;  // of what a hook wrote, for an error's text
constexpr int most_turns = 16;            // a pipe's worth

std::vector<char*> pointers(const std::vector<std::string>& texts) {
    std::vector<char*> out;
    for (const std::string& text : texts) out.push_back(const_cast<char*>(text.c_str()));
    out.push_back(nullptr);
    return out;
}

Fd state_file(std::string_view state) {
    // A file, not a pipe: a hook that does not read its input cannot stop us.
    Fd input{::memfd_create("state", MFD_CLOEXEC)};
    if (!input) fail_errno("create the state of a hook");
    write_all(input.get(), state, "the state of a hook");
    if (::lseek(input.get(), 0, SEEK_SET) != 0) fail_errno("rewind the state of a hook");
    return input;
}

[[noreturn]] void become_hook(const oci::Hook& hook, int input, int output, const HookSurroundings& surroundings) {
    std::vector<char*> arguments = pointers(hook.args);
    if (hook.args.empty()) arguments.insert(arguments.begin(), const_cast<char*>(hook.path.c_str()));
    const bool lends = hook.env.empty() && surroundings.environment;
    const std::vector<char*> environment = pointers(lends ? *surroundings.environment : hook.env);
    sigset_t signals;
    ::sigemptyset(&signals);
    ::sigprocmask(SIG_SETMASK, &signals, nullptr);
    ::dup2(input, 0);
    ::dup2(output, 1);
    ::dup2(output, 2);
    ::syscall(SYS_close_range, 3, ~0U, 0);
    try {
        if (surroundings.filter) (void)linux::load_seccomp(*surroundings.filter).release();
        ::execve(hook.path.c_str(), arguments.data(), environment.data());
        fail_errno("exec");
    } catch (const Error& error) {
        [[maybe_unused]] const auto said = ::write(2, error.what(), std::string_view(error.what()).size());
    }
    ::_exit(127);
}

/// Takes what is there; false at the end.
bool take(int from, std::string& words) {
    std::array<char, 4096> bytes;
    const ssize_t got = ::read(from, bytes.data(), bytes.size());
    if (got < 0) return errno == EINTR || errno == EAGAIN;
    const std::size_t room = most_words - std::min(most_words, words.size());
    words.append(bytes.data(), std::min(static_cast<std::size_t>(got), room));
    return got > 0;
}

/// Reads until the hook has ended, whoever else may hold the pipe then. False where it took too long.
bool attend(int pidfd, int output, std::optional<int> seconds, std::string& words) {
    const auto end = Clock::now() + std::chrono::seconds(seconds.value_or(0));
    bool open = true;
    int turns_after_its_end = 0;  // What it left in the background may write for ever.
    for (;;) {
        std::array<pollfd, 2> waits{{{pidfd, POLLIN, 0}, {open ? output : -1, POLLIN, 0}}};
        int left = -1;
        if (seconds) {
            const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
            left = static_cast<int>(std::clamp<std::int64_t>(milliseconds, 0, 1'000'000'000));
        }
        const int got = ::poll(waits.data(), waits.size(), left);
        if (got < 0 && errno != EINTR) fail_errno("wait for a hook");
        if (got == 0) return false;
        if (got < 0) continue;
        if (waits[1].revents != 0) open = take(output, words);
        if (waits[0].revents != 0 && (waits[1].revents == 0 || ++turns_after_its_end > most_turns)) return true;
    }
}

void run_hook(const oci::Hook& hook, std::string_view state, std::string_view point, const HookSurroundings& surroundings) {
    const Fd input = state_file(state);
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail_errno("pipe");
    const Fd output{ends[0]};
    Fd theirs{ends[1]};
    const linux::Cloned child = linux::clone_process(0);
    if (child.pid == 0) become_hook(hook, input.get(), theirs.get(), surroundings);
    theirs = {};

    std::string words;
    const bool in_time = attend(child.pidfd.get(), output.get(), hook.timeout, words);
    if (!in_time) ::kill(child.pid, SIGKILL);
    const int status = linux::reap(child.pid);
    const std::string_view said = trim(words);
    const std::string wrote = said.empty() ? std::string{} : fmt::format(", it wrote: {}", to_valid_utf8(said));
    if (!in_time) fail(ErrorKind::system, "{} hook {}: took longer than {} s{}", point, hook.path, *hook.timeout, wrote);
    if (WIFSIGNALED(status)) fail(ErrorKind::system, "{} hook {}: killed by signal {}{}", point, hook.path, WTERMSIG(status), wrote);
    if (WEXITSTATUS(status) != 0) fail(ErrorKind::system, "{} hook {}: exit status {}{}", point, hook.path, WEXITSTATUS(status), wrote);
}

}  // namespace

void run_hooks(const std::vector<oci::Hook>& hooks, std::string_view state, std::string_view point, const HookSurroundings& surroundings) {
    for (const oci::Hook& hook : hooks) run_hook(hook, state, point, surroundings);
}

void run_hooks(const std::vector<oci::Hook>& hooks, std::string_view state, std::string_view point) { run_hooks(hooks, state, point, {}); }

std::string state_json(std::string_view id, std::string_view status, pid_t pid, std::string_view bundle, const oci::RuntimeSpec& spec) {
    boost::json::object state{{"ociVersion", oci::runtime_spec_version}, {"id", id}, {"status", status}};
    if (pid > 0) state["pid"] = pid;
    state["bundle"] = bundle;
    if (!spec.annotations.empty()) {
        boost::json::object annotations;
        for (const auto& [name, value] : spec.annotations) annotations[name] = value;
        state["annotations"] = std::move(annotations);
    }
    return boost::json::serialize(state);
}

}  // namespace grua::runtime
