#include "lifecycle.hpp"

#include "base/log.hpp"
#include "base/text.hpp"
#include "linux/process.hpp"
#include "runtime/container.hpp"

#include <poll.h>
#include <algorithm>
#include <csignal>
#include <cstring>

namespace grua::app {
namespace {

int signal_number(std::string_view text) {
    if (const auto number = parse_int(text); number && *number >= 0 && *number <= SIGRTMAX) return static_cast<int>(*number);
    std::string name{text.starts_with("SIG") || text.starts_with("sig") ? text.substr(3) : text};
    for (char& c : name) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    for (int number = 1; number < 32; ++number) {
        const char* known = ::sigabbrev_np(number);
        if (known && name == known) return number;
    }
    fail(ErrorKind::invalid_argument, "unknown signal {:?}", text);
}

/// Where it has none, the end of its init ends nobody else.
bool has_own_pid_namespace(const State& state) {
    if (!state.spec.linux_) return false;
    return std::ranges::any_of(state.spec.linux_->namespaces, [](const auto& each) { return each.type == "pid" && each.path.empty(); });
}

/// Throws Error(unavailable) where the process still runs after `milliseconds`.
void wait_for_end(int pidfd, int milliseconds) {
    pollfd wait{pidfd, POLLIN, 0};
    if (::poll(&wait, 1, milliseconds) <= 0) fail(ErrorKind::unavailable, "the container's init does not end");
}

void kill_all(const State& state, int signal) {
    const linux::Cgroup cgroup = cgroup_of(state);
    if (!cgroup.empty()) return cgroup.kill(signal);
    if (const Fd init = open_init(state)) linux::send_signal(init.get(), signal);  // Of an ordinary user, without a cgroup.
}

}  // namespace

int start(const Context& context, const Options& options) {
    const State state = load(context.root, options.arguments().front());
    const std::string status = status_of(context.root, state);
    if (status == "stopped") fail(ErrorKind::conflict, "cannot start a container that has stopped");
    if (status != "created") fail(ErrorKind::conflict, "cannot start an already running container");
    runtime::start(context.root + "/" + state.id);
    log::debug("container {}: process {} goes on to its program", state.id, state.pid);
    if (state.spec.hooks)
        runtime::run_hooks(state.spec.hooks->poststart, runtime::state_json(state.id, "running", state.pid, state.bundle, state.spec),
                           "poststart");
    return 0;
}

int kill_command(const Context& context, const Options& options) {
    const State state = load(context.root, options.arguments().front());
    const int signal = signal_number(options.arguments().size() > 1 ? options.arguments()[1] : "SIGTERM");
    const bool all = options.on("all") || (signal == SIGKILL && !has_own_pid_namespace(state));
    const Fd init = open_init(state);
    if (!init && (!all || cgroup_of(state).empty())) {
        if (options.on("all")) return 0;
        fail(ErrorKind::conflict, "container not running");
    }
    if (all) {
        kill_all(state, signal);
        return 0;
    }
    linux::send_signal(init.get(), signal);
    // A frozen process of cgroup v1 ends only when it is let go.
    if (signal == SIGKILL && cgroup_of(state).frozen()) cgroup_of(state).thaw();
    return 0;
}

int delete_command(const Context& context, const Options& options) {
    const std::string& id = options.arguments().front();
    const auto state = find(context.root, id);
    if (!state) {
        if (remove_leftover(context.root, id) || options.on("force")) return 0;
        fail(ErrorKind::not_found, "container does not exist");
    }
    if (const Fd init = open_init(*state)) {
        const std::string status = status_of(context.root, *state);
        if (!options.on("force") && status != "created" && status != "stopped")
            fail(ErrorKind::conflict, "cannot delete container {} that is not stopped: {}", id, status);
        kill_all(*state, SIGKILL);
        wait_for_end(init.get(), 10'000);
    }
    destroy(context, *state);
    return 0;
}

int pause(const Context& context, const Options& options) {
    const State state = load(context.root, options.arguments().front());
    const std::string status = status_of(context.root, state);
    if (status != "running" && status != "created") fail(ErrorKind::conflict, "container not running");
    cgroup_of(state).freeze();
    return 0;
}

int resume(const Context& context, const Options& options) {
    const State state = load(context.root, options.arguments().front());
    if (status_of(context.root, state) != "paused") fail(ErrorKind::conflict, "container not paused");
    cgroup_of(state).thaw();
    return 0;
}

void destroy(const Context& context, const State& state) {
    linux::Cgroup cgroup = cgroup_of(state);
    cgroup.kill();
    cgroup.remove();
    remove_folder(context.root, state.id);
    log::debug("container {}: its cgroup {} and its folder are gone", state.id, state.cgroup);
    if (!state.spec.hooks) return;
    for (const oci::Hook& hook : state.spec.hooks->poststop) {
        try {
            runtime::run_hooks({hook}, runtime::state_json(state.id, "stopped", 0, state.bundle, state.spec), "poststop");
        } catch (const Error& error) {
            log::warn("{}", error.what());  // runtime.md#lifecycle: the rest go on.
        }
    }
}

}  // namespace grua::app
