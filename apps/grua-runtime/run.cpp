#include "run.hpp"

#include "base/files.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "lifecycle.hpp"
#include "linux/process.hpp"
#include "rootless.hpp"
#include "runtime/container.hpp"
#include "state.hpp"
#include "terminal.hpp"

#include <linux/keyctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <climits>
#include <csignal>
#include <cstdlib>

namespace grua::app {
namespace {

enum class Detach { yes, no };

std::string bundle_of(const Options& options) {
    char path[PATH_MAX];
    const std::string given = options.given("bundle") ? options.text("bundle") : ".";
    if (!::realpath(given.c_str(), path)) fail_errno("bundle {}", given);
    return path;
}

/// Whoever is in a container must not find the keys of who started it.
void leave_session_keyring(const Options& options) {
    if (options.on("no-new-keyring")) return;
    // Kernels without keys, and seccomp filters of other containers, refuse.
    if (::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr) < 0 && errno != ENOSYS && errno != EPERM)
        fail_errno("make a session keyring");
}

/// A container that was made ends again unless the command that made it comes to its end.
class Made {
public:
    Made(const Context& context, const State& state) : context_(context), state_(state) {}
    Made(const Made&) = delete;
    Made& operator=(const Made&) = delete;
    ~Made() {
        if (is_kept_) return;
        try {
            ::kill(state_.pid, SIGKILL);  // Ours and not reaped yet.
            cgroup_of(state_).kill();
            linux::reap(state_.pid);
            destroy(context_, state_);
        } catch (const Error& error) {
            log::warn("container {} could not be removed again: {}", state_.id, error.what());
        }
    }
    void keep() noexcept { is_kept_ = true; }

private:
    const Context& context_;
    const State& state_;
    bool is_kept_ = false;
};

int create_or_run(const Context& context, const Options& options, runtime::StartMode mode, Detach detach) {
    State state;
    state.id = options.arguments().front();
    check_id(state.id);
    state.bundle = bundle_of(options);
    state.spec = oci::parse_runtime_spec(read_file(state.bundle + "/config.json", std::size_t{16} << 20U));
    if (!state.spec.process) fail(ErrorKind::invalid_argument, "process property must not be empty");
    // grua's own extensions are the engine's; runc's command line knows numbers only.
    state.spec.process->user.username.clear();
    state.spec.process->user.additional_groups.clear();
    check_terminal(options, state.spec.process->terminal, detach == Detach::yes);

    runtime::CreateRequest request;
    request.id = state.id;
    request.directory = context.root + "/" + state.id;
    request.stdio = {0, 1, 2};
    request.start = mode;
    request.bundle = state.bundle;
    request.seccomp_cache = seccomp_cache(context);
    request.pivot = !options.on("no-pivot");
    request.plain_newlines = detach == Detach::no;

    const sigset_t signals = block_signals();
    if (detach == Detach::no && !options.on("no-subreaper") && ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) fail_errno("subreaper");
    leave_session_keyring(options);
    NewFolder folder{context.root, state.id};
    oci::RuntimeSpec spec = state.spec;
    request.preserved_fds = preserve_descriptors(options, &spec.process->env);
    enter_user_namespace(spec);
    const bool may_lack = context.rootless == Rootless::automatic ? !is_first_user_namespace() : context.rootless == Rootless::yes;
    request.cgroup_use = may_lack ? runtime::CgroupUse::if_permitted : runtime::CgroupUse::needed_with_unified;
    log::debug("container {}: created from {}", state.id, state.bundle);
    runtime::Started started = runtime::create(spec, std::move(request));
    state.pid = started.pid;
    state.start_time = start_time_of(started.pid);
    state.cgroup = started.cgroup.folders().empty() ? std::string{} : started.cgroup.path().text();
    state.created = format_time(now());
    log::debug("container {}: process {}, cgroup {:?}", state.id, state.pid, state.cgroup);
    Made made{context, state};
    save(context.root, state);
    folder.keep();
    if (started.terminal && options.given("console-socket"))
        send_descriptor(options.text("console-socket"), "/dev/ptmx", started.terminal.get());
    if (options.given("pidfd-socket")) send_descriptor(options.text("pidfd-socket"), "standard", started.pidfd.get());
    write_pid_file(options, started.pid);
    if (mode == runtime::StartMode::at_once && state.spec.hooks)
        runtime::run_hooks(state.spec.hooks->poststart, runtime::state_json(state.id, "running", state.pid, state.bundle, state.spec),
                           "poststart");
    made.keep();
    if (detach == Detach::yes) return 0;

    const int status = attend(started.pid, started.pidfd.get(), started.terminal.get(), signals);
    log::debug("container {}: ended with status {}", state.id, status);
    if (!options.on("keep")) destroy(context, state);
    return status;
}

}  // namespace

int create(const Context& context, const Options& options) {
    return create_or_run(context, options, runtime::StartMode::on_start, Detach::yes);
}

int run(const Context& context, const Options& options) {
    return create_or_run(context, options, runtime::StartMode::at_once, options.on("detach") ? Detach::yes : Detach::no);
}

int preserve_descriptors(const Options& options, std::vector<std::string>* environment) {
    constexpr std::uint64_t most = 1000;
    std::uint64_t count = options.unsigned_integer("preserve-fds").value_or(0);
    if (count > most) fail(ErrorKind::invalid_argument, "--preserve-fds: more than {}", most);
    const char* listener = std::getenv("LISTEN_PID");
    const char* listening = std::getenv("LISTEN_FDS");
    if (environment && listener && listening && parse_int(listener) == ::getpid()) {
        const auto sockets = parse_uint(listening);
        if (!sockets || *sockets > most) fail(ErrorKind::invalid_argument, "LISTEN_FDS={} is no number of descriptors", listening);
        if (*sockets > 0) {
            // sd_listen_fds(3): the program is the first process that it sees.
            environment->push_back(fmt::format("LISTEN_FDS={}", *sockets));
            environment->emplace_back("LISTEN_PID=1");
            if (const char* names = std::getenv("LISTEN_FDNAMES")) environment->push_back(fmt::format("LISTEN_FDNAMES={}", names));
        }
        count += *sockets;
    }
    for (int fd = 3; fd < 3 + static_cast<int>(count); ++fd) linux::set_close_on_exec(fd, false);
    return static_cast<int>(count);
}

void write_pid_file(const Options& options, pid_t pid) {
    if (options.given("pid-file")) replace_file(options.text("pid-file"), std::to_string(pid));
}

void check_terminal(const Options& options, bool terminal, bool detach) {
    if (detach && terminal && !options.given("console-socket"))
        fail(ErrorKind::invalid_argument, "cannot allocate tty if grua-runtime will detach without setting console socket");
    if ((!detach || !terminal) && options.given("console-socket"))
        fail(ErrorKind::invalid_argument, "cannot use console socket if grua-runtime will not detach or allocate tty");
}

int attend(pid_t pid, int pidfd, int terminal, const sigset_t& signals) {
    const Relay relay{pid, pidfd, terminal, signals};
    relay.run();
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) fail_errno("wait for {}", pid);
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

std::string seccomp_cache(const Context& context) { return context.root + "/.seccomp"; }

}  // namespace grua::app
