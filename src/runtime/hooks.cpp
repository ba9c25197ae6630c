// OCI hooks: a program with the container's state on its standard input, and a time limit (config.md#posix-platform-hooks).
#include "base/error.hpp"
#include "base/files.hpp"
#include "linux/process.hpp"
#include "runtime/container.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <algorithm>
#include <csignal>

namespace grua::runtime {
namespace {

void run_hook(const oci::Hook& hook, std::string_view state, std::string_view point) {
    // A file, not a pipe: a hook that does not read its input cannot stop us.
    const Fd input{::memfd_create("state", MFD_CLOEXEC)};
    if (!input) fail_errno("create the state of a hook");
    write_all(input.get(), state, "the state of a hook");
    if (::lseek(input.get(), 0, SEEK_SET) != 0) fail_errno("rewind the state of a hook");

    std::vector<char*> arguments;
    for (const auto& each : hook.args) arguments.push_back(const_cast<char*>(each.c_str()));
    if (arguments.empty()) arguments.push_back(const_cast<char*>(hook.path.c_str()));
    arguments.push_back(nullptr);
    std::vector<char*> environment;
    for (const auto& each : hook.env) environment.push_back(const_cast<char*>(each.c_str()));
    environment.push_back(nullptr);

    const linux::Cloned child = linux::clone_process(0);
    if (child.pid == 0) {
        ::dup2(input.get(), 0);
        ::syscall(SYS_close_range, 3, ~0U, 0);
        ::execve(hook.path.c_str(), arguments.data(), environment.data());
        ::_exit(127);
    }
    pollfd wait{child.pidfd.get(), POLLIN, 0};
    const int milliseconds = hook.timeout ? static_cast<int>(std::min(*hook.timeout, 1'000'000)) * 1000 : -1;
    int got = -1;
    do got = ::poll(&wait, 1, milliseconds);
    while (got < 0 && errno == EINTR);
    if (got == 0) ::kill(child.pid, SIGKILL);
    int status = 0;
    while (::waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (got == 0) fail(ErrorKind::system, "{} hook {}: took longer than {} s", point, hook.path, *hook.timeout);
    if (WIFSIGNALED(status)) fail(ErrorKind::system, "{} hook {}: killed by signal {}", point, hook.path, WTERMSIG(status));
    if (WEXITSTATUS(status) != 0) fail(ErrorKind::system, "{} hook {}: exit status {}", point, hook.path, WEXITSTATUS(status));
}

}  // namespace

void run_hooks(const std::vector<oci::Hook>& hooks, std::string_view state, std::string_view point) {
    for (const oci::Hook& hook : hooks) run_hook(hook, state, point);
}

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
