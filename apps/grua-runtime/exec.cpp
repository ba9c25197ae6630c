#include "exec.hpp"

#include "base/files.hpp"
#include "base/log.hpp"
#include "base/test_points.hpp"
#include "base/text.hpp"
#include "rootless.hpp"
#include "run.hpp"
#include "runtime/container.hpp"
#include "state.hpp"
#include "terminal.hpp"

#include <algorithm>

namespace grua::app {
namespace {

std::uint32_t id_in(std::string_view text, std::string_view what, const std::string& whole) {
    const auto id = parse_uint(text);
    if (!id || *id > 0x7fffffff) fail(ErrorKind::invalid_argument, "invalid {} {:?}", what, whole);
    return static_cast<std::uint32_t>(*id);
}

oci::Process process_of(const State& state, const Options& options) {
    if (options.given("process")) {
        if (options.arguments().size() > 1) fail(ErrorKind::invalid_argument, "exec: a program and --process cannot be given together");
        return oci::parse_process(read_file(options.text("process")));
    }
    if (options.arguments().size() < 2) fail(ErrorKind::invalid_argument, "exec: a program or --process is needed");
    oci::Process process = *state.spec.process;
    process.args.assign(options.arguments().begin() + 1, options.arguments().end());
    process.terminal = options.on("tty");
    process.console_size.reset();
    if (options.given("cwd")) process.cwd = options.text("cwd");
    for (const auto& each : options.list("env")) process.env.push_back(each);
    if (options.given("no-new-privs")) process.no_new_privileges = options.on("no-new-privs");
    if (options.given("apparmor")) process.apparmor_profile = options.text("apparmor");
    if (options.given("process-label")) process.selinux_label = options.text("process-label");
    if (options.given("user")) {
        const std::string user = options.text("user");
        const auto parts = split(user, ':');
        if (parts.size() > 2) fail(ErrorKind::invalid_argument, "invalid user {:?}", user);
        process.user.uid = id_in(parts[0], "user", user);
        if (parts.size() > 1) process.user.gid = id_in(parts[1], "user", user);
    }
    for (const auto& each : options.list("additional-gids")) process.user.additional_gids.push_back(id_in(each, "group", each));
    for (const auto& each : options.list("cap")) {
        auto& sets = process.capabilities ? *process.capabilities : process.capabilities.emplace();
        sets.bounding.push_back(each);
        sets.effective.push_back(each);
        sets.permitted.push_back(each);
        if (is_left_out("CVE-2022-29162")) sets.inheritable.push_back(each);
    }
    return process;
}

/// "[CONTROLLER[,CONTROLLER]:]PATH", below the container's own.
void descend(linux::Cgroup& cgroup, const std::vector<std::string>& wanted) {
    const bool v2 = cgroup.layout() == linux::CgroupLayout::v2;
    unsigned seen = 0;
    for (const std::string& each : wanted) {
        const std::size_t colon = each.find(':');
        if (colon == std::string::npos) {
            if (wanted.size() > 1) fail(ErrorKind::invalid_argument, "--cgroup {}: a CONTROLLER: is needed where there are several", each);
            cgroup.descend(0, each);
            continue;
        }
        if (v2) fail(ErrorKind::invalid_argument, "--cgroup {}: cgroup v2 has one path for all controllers", each);
        unsigned controllers = 0;
        for (const std::string& name : split(std::string_view(each).substr(0, colon), ',')) {
            const unsigned bit = linux::controller_bit(name);
            if (bit == 0) fail(ErrorKind::invalid_argument, "--cgroup {}: unknown controller {:?}", each, name);
            if (((seen | controllers) & bit) != 0) fail(ErrorKind::invalid_argument, "--cgroup {}: {} is given twice", each, name);
            controllers |= bit;
        }
        seen |= controllers;
        cgroup.descend(controllers, std::string_view(each).substr(colon + 1));
    }
}

}  // namespace

int exec(const Context& context, const Options& options) {
    const State state = load(context.root, options.arguments().front());
    const Fd init = open_init(state);
    if (!init) fail(ErrorKind::conflict, "cannot exec in a stopped container");
    const std::string status = status_of(context.root, state);
    if (status == "paused" && !options.on("ignore-paused"))
        fail(ErrorKind::conflict, "cannot exec in a paused container (use --ignore-paused to override)");

    oci::Process process = process_of(state, options);
    process.user.username.clear();
    process.user.additional_groups.clear();
    oci::check(process);
    check_terminal(options, process.terminal, options.on("detach"));

    linux::Cgroup cgroup = cgroup_of(state);
    descend(cgroup, options.list("cgroup"));
    const sigset_t signals = block_signals();
    const int preserved = preserve_descriptors(options, nullptr);
    oci::RuntimeSpec spec = state.spec;
    join_user_namespace(spec, init.get());
    const runtime::ExecStarted started = runtime::exec({state.pid, init.get(), &spec, &cgroup}, process,
                                                       {{0, 1, 2}, seccomp_cache(context), preserved, !options.on("detach")});
    log::debug("container {}: process {} runs {}", state.id, started.pid, process.args.front());
    if (started.terminal && options.given("console-socket"))
        send_descriptor(options.text("console-socket"), "/dev/ptmx", started.terminal.get());
    if (options.given("pidfd-socket")) send_descriptor(options.text("pidfd-socket"), "setns", started.pidfd.get());
    write_pid_file(options, started.pid);
    return options.on("detach") ? 0 : attend(started.pid, started.pidfd.get(), started.terminal.get(), signals);
}

}  // namespace grua::app
