#include "run.hpp"

#include "base/files.hpp"
#include "base/log.hpp"
#include "base/test_points.hpp"
#include "base/text.hpp"
#include "linux/process.hpp"
#include "runtime/container.hpp"
#include "terminal.hpp"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <csignal>

namespace grua::app {
namespace {

constexpr const char* seccomp_cache = "/run/grua-runtime/.seccomp";

std::string bundle_of(const Options& options) {
    char path[PATH_MAX];
    const std::string given = options.has("bundle") ? options.value("bundle") : ".";
    if (!::realpath(given.c_str(), path)) fail_errno("bundle {}", given);
    return path;
}

int preserved(const Options& options) {
    if (!options.has("preserve-fds")) return 0;
    const auto count = parse_uint(options.value("preserve-fds"));
    if (!count || *count > 1000) fail(ErrorKind::invalid_argument, "invalid value for --preserve-fds");
    for (int fd = 3; fd < 3 + static_cast<int>(*count); ++fd) linux::set_close_on_exec(fd, false);
    return static_cast<int>(*count);
}

void write_pid_file(const Options& options, pid_t pid) {
    if (options.has("pid-file")) replace_file(options.value("pid-file"), std::to_string(pid));
}

void check_terminal(const Options& options, bool terminal, bool detach) {
    if (detach && terminal && !options.has("console-socket"))
        fail(ErrorKind::invalid_argument, "cannot allocate tty if grua-runtime will detach without setting console socket");
    if ((!detach || !terminal) && options.has("console-socket"))
        fail(ErrorKind::invalid_argument, "cannot use console socket if grua-runtime will not detach or allocate tty");
}

int status_of_wait(int status) { return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status); }

/// Passes signals (and the terminal) on until the process ends; returns its exit status.
int attend(pid_t pid, int pidfd, int terminal, const sigset_t& signals) {
    const Relay relay{pid, pidfd, terminal, signals};
    relay.run();
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) fail_errno("wait for {}", pid);
    }
    return status_of_wait(status);
}

void make_state_directory(const Context& context, const std::string& id) {
    grua::make_directories(context.root, 0711);
    const std::string directory = context.root + "/" + id;
    if (::mkdir(directory.c_str(), 0700) == 0) return;
    if (errno == EEXIST) fail(ErrorKind::conflict, "container with given ID already exists");
    fail_errno("create {}", directory);
}

int create_or_run(const Context& context, const Options& options, runtime::StartMode mode, bool detach) {
    const std::string id = options.arguments.empty() ? std::string{} : options.arguments.front();
    check_id(id);
    State state;
    state.id = id;
    state.bundle = bundle_of(options);
    state.spec = oci::parse_runtime_spec(read_file(state.bundle + "/config.json", std::size_t{16} << 20U));
    if (!state.spec.process) fail(ErrorKind::invalid_argument, "process property must not be empty");
    // grua's own extensions are the engine's; runc's command line knows numbers only.
    state.spec.process->user.username.clear();
    state.spec.process->user.additional_groups.clear();
    check_terminal(options, state.spec.process->terminal, detach);

    runtime::CreateRequest request;
    request.id = id;
    request.directory = context.root + "/" + id;
    request.stdio = {0, 1, 2};
    request.start = mode;
    request.bundle = state.bundle;
    request.seccomp_cache = seccomp_cache;
    request.preserved_fds = preserved(options);
    request.pivot = !options.has("no-pivot");
    request.plain_newlines = !detach;

    const sigset_t signals = block_signals();
    make_state_directory(context, id);
    try {
        runtime::Started started = runtime::create(state.spec, std::move(request));
        state.pid = started.pid;
        state.start_time = start_time_of(started.pid);
        state.cgroup = started.cgroup.path().text();
        state.created = format_time(now());
        save(context.root, state);
        if (started.terminal && options.has("console-socket")) send_terminal(options.value("console-socket"), started.terminal.get());
        write_pid_file(options, started.pid);
        if (mode == runtime::StartMode::at_once && state.spec.hooks)
            runtime::run_hooks(state.spec.hooks->poststart, runtime::state_json(id, "running", state.pid, state.bundle, state.spec),
                               "poststart");
        if (detach) return 0;

        const int status = attend(started.pid, started.pidfd.get(), started.terminal.get(), signals);
        if (!options.has("keep")) {
            started.cgroup.remove();
            destroy(context, state);
        }
        return status;
    } catch (const Error&) {
        if (state.pid == 0) ::rmdir((context.root + "/" + id).c_str());
        throw;
    }
}

}  // namespace

int create(const Context& context, const Options& options) { return create_or_run(context, options, runtime::StartMode::on_start, true); }
int run(const Context& context, const Options& options) {
    return create_or_run(context, options, runtime::StartMode::at_once, options.has("detach"));
}

int exec(const Context& context, const Options& options) {
    if (options.arguments.empty()) fail(ErrorKind::invalid_argument, "container id cannot be empty");
    const State state = load(context.root, options.arguments.front());
    const Fd pidfd = linux::open_pidfd(std::max(state.pid, 1));
    const std::string status = status_of(context.root, state);
    if (status == "stopped") fail(ErrorKind::conflict, "cannot exec in a stopped container");
    if (status == "paused" && !options.has("ignore-paused"))
        fail(ErrorKind::conflict, "cannot exec in a paused container (use --ignore-paused to override)");
    if (options.has("cgroup")) fail(ErrorKind::not_implemented, "not implemented: exec --cgroup");

    oci::Process process;
    if (options.has("process")) {
        process = oci::parse_process(read_file(options.value("process")));
    } else {
        process = *state.spec.process;
        process.args.assign(options.arguments.begin() + 1, options.arguments.end());
        process.terminal = options.has("tty");
        process.console_size.reset();
        if (options.has("cwd")) process.cwd = options.value("cwd");
        for (const auto& each : options.all("env")) process.env.push_back(each);
        if (options.has("no-new-privs")) process.no_new_privileges = true;
        if (options.has("user")) {
            const auto parts = split(options.value("user"), ':');
            const auto uid = parse_uint(parts.front());
            const auto gid = parts.size() > 1 ? parse_uint(parts[1]) : std::optional<std::uint64_t>{process.user.gid};
            if (parts.size() > 2 || !uid || !gid || *uid > 0x7fffffff || *gid > 0x7fffffff)
                fail(ErrorKind::invalid_argument, "invalid user {:?}", options.value("user"));
            process.user.uid = static_cast<std::uint32_t>(*uid);
            process.user.gid = static_cast<std::uint32_t>(*gid);
        }
        for (const auto& each : options.all("additional-gids")) {
            const auto gid = parse_uint(each);
            if (!gid || *gid > 0x7fffffff) fail(ErrorKind::invalid_argument, "invalid group {:?}", each);
            process.user.additional_gids.push_back(static_cast<std::uint32_t>(*gid));
        }
        for (const auto& each : options.all("cap")) {
            auto& sets = process.capabilities ? *process.capabilities : process.capabilities.emplace();
            sets.bounding.push_back(each);
            sets.effective.push_back(each);
            sets.permitted.push_back(each);
            if (is_left_out("CVE-2022-29162")) sets.inheritable.push_back(each);
        }
    }
    process.user.username.clear();
    process.user.additional_groups.clear();
    oci::check(process);
    check_terminal(options, process.terminal, options.has("detach"));

    const linux::Cgroup cgroup = cgroup_of(state);
    const sigset_t signals = block_signals();
    const runtime::ExecStarted started = runtime::exec({state.pid, pidfd.get(), &state.spec, &cgroup}, process,
                                                       {{0, 1, 2}, seccomp_cache, preserved(options), !options.has("detach")});
    if (started.terminal && options.has("console-socket")) send_terminal(options.value("console-socket"), started.terminal.get());
    write_pid_file(options, started.pid);
    return options.has("detach") ? 0 : attend(started.pid, started.pidfd.get(), started.terminal.get(), signals);
}

void wait_for_end(int pidfd, int milliseconds) {
    pollfd wait{pidfd, POLLIN, 0};
    if (::poll(&wait, 1, milliseconds) <= 0) fail(ErrorKind::unavailable, "the container's init does not end");
}

void destroy(const Context& context, const State& state) {
    try {
        linux::Cgroup cgroup = cgroup_of(state);
        cgroup.kill();
        cgroup.remove();
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::not_found) throw;
    }
    const std::string directory = context.root + "/" + state.id;
    ::unlink((directory + "/exec.fifo").c_str());
    if (::unlink((directory + "/state.json").c_str()) != 0 || ::rmdir(directory.c_str()) != 0) fail_errno("remove {}", directory);
    if (!state.spec.hooks) return;
    for (const oci::Hook& hook : state.spec.hooks->poststop) {
        try {
            runtime::run_hooks({hook}, runtime::state_json(state.id, "stopped", 0, state.bundle, state.spec), "poststop");
        } catch (const Error& error) {
            log::warn("{}", error.what());  // runtime.md#lifecycle: the rest go on.
        }
    }
}

boost::json::object describe_stats(const linux::CgroupStats& stats) {
    boost::json::object memory{{"usage", stats.memory.usage}, {"max", stats.memory.max_usage}, {"failcnt", stats.memory.failures}};
    if (stats.memory.limit) memory["limit"] = *stats.memory.limit;
    boost::json::object raw;
    for (const auto& [name, value] : stats.memory.detail) raw[name] = value;
    return {{"cpu",
             {{"usage", {{"total", stats.cpu.usage_ns}, {"user", stats.cpu.user_ns}, {"kernel", stats.cpu.system_ns}}},
              {"throttling",
               {{"periods", stats.cpu.periods},
                {"throttledPeriods", stats.cpu.throttled_periods},
                {"throttledTime", stats.cpu.throttled_ns}}}}},
            {"memory", {{"usage", std::move(memory)}, {"raw", std::move(raw)}}},
            {"pids", {{"current", stats.pids.current}, {"limit", stats.pids.limit.value_or(0)}}}};
}

}  // namespace grua::app
