#include "commands.hpp"

#include "base/files.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "linux/capabilities.hpp"
#include "linux/process.hpp"
#include "run.hpp"
#include "runtime/container.hpp"
#include "runtime/convert.hpp"
#include "runtime/mount_options.hpp"
#include "state.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>

namespace grua::app {
namespace {

const std::string& id_of(const Options& options) {
    static const std::string none;
    const std::string& id = options.arguments.empty() ? none : options.arguments.front();
    check_id(id);
    return id;
}

int signal_number(std::string_view text) {
    if (const auto number = parse_int(text)) return static_cast<int>(*number);
    std::string name{text.starts_with("SIG") || text.starts_with("sig") ? text.substr(3) : text};
    for (char& c : name) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    for (int number = 1; number < 32; ++number) {
        const char* known = ::sigabbrev_np(number);
        if (known && name == known) return number;
    }
    fail(ErrorKind::invalid_argument, "unknown signal {:?}", text);
}

boost::json::object describe(const Context& context, const State& state) {
    const std::string status = status_of(context.root, state);
    const std::string& path = state.spec.root ? state.spec.root->path : state.bundle;
    boost::json::object out{{"ociVersion", state.spec.oci_version},
                            {"id", state.id},
                            {"pid", status == "stopped" ? 0 : state.pid},
                            {"status", status},
                            {"bundle", state.bundle},
                            {"rootfs", path.starts_with('/') ? path : state.bundle + "/" + path},
                            {"created", state.created}};
    if (!state.spec.annotations.empty()) {
        boost::json::object annotations;
        for (const auto& [name, value] : state.spec.annotations) annotations[name] = value;
        out["annotations"] = std::move(annotations);
    }
    out["owner"] = "root";
    return out;
}

int state_command(const Context& context, const Options& options) {
    fmt::print("{}\n", boost::json::serialize(describe(context, load(context.root, id_of(options)))));
    return 0;
}

int list(const Context& context, const Options& options) {
    const std::vector<State> all = load_all(context.root);
    const std::string format = options.value("format");
    if (options.has("quiet")) {
        for (const State& each : all) fmt::print("{}\n", each.id);
    } else if (format == "json") {
        boost::json::array out;
        for (const State& each : all) out.push_back(describe(context, each));
        fmt::print("{}\n", boost::json::serialize(out));
    } else if (format.empty() || format == "table") {
        fmt::print("{:<12}{:<12}{:<12}{:<24}{:<34}{}\n", "ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER");
        for (const State& each : all) {
            const std::string status = status_of(context.root, each);
            fmt::print("{:<11} {:<11} {:<11} {:<23} {:<33} root\n", each.id, status == "stopped" ? 0 : each.pid, status, each.bundle,
                       each.created);
        }
    } else {
        fail(ErrorKind::invalid_argument, "invalid format option");
    }
    return 0;
}

int start(const Context& context, const Options& options) {
    const State state = load(context.root, id_of(options));
    const std::string status = status_of(context.root, state);
    if (status == "stopped") fail(ErrorKind::conflict, "cannot start a container that has stopped");
    if (status != "created") fail(ErrorKind::conflict, "cannot start an already running container");
    runtime::start(context.root + "/" + state.id);
    if (state.spec.hooks)
        runtime::run_hooks(state.spec.hooks->poststart, runtime::state_json(state.id, "running", state.pid, state.bundle, state.spec),
                           "poststart");
    return 0;
}

int kill_command(const Context& context, const Options& options) {
    const State state = load(context.root, id_of(options));
    const int signal = signal_number(options.arguments.size() > 1 ? options.arguments[1] : "SIGTERM");
    if (options.has("all")) {
        cgroup_of(state).kill(signal);
        return 0;
    }
    const Fd pidfd = linux::open_pidfd(std::max(state.pid, 1));
    if (status_of(context.root, state) == "stopped") fail(ErrorKind::conflict, "container not running");
    linux::send_signal(pidfd.get(), signal);
    return 0;
}

int delete_command(const Context& context, const Options& options) {
    State state;
    try {
        state = load(context.root, id_of(options));
    } catch (const Error& error) {
        if (options.has("force") && error.kind() == ErrorKind::not_found) return 0;
        throw;
    }
    const std::string status = status_of(context.root, state);
    if (status == "running" || status == "paused" || status == "created") {
        if (!options.has("force") && status != "created")
            fail(ErrorKind::conflict, "cannot delete container {} that is not stopped: {}", state.id, status);
        const Fd pidfd = linux::open_pidfd(state.pid);
        linux::send_signal(pidfd.get(), SIGKILL);
        if (status == "paused") cgroup_of(state).thaw();
        wait_for_end(pidfd.get(), 10'000);
    }
    destroy(context, state);
    return 0;
}

int ps(const Context& context, const Options& options) {
    const State state = load(context.root, id_of(options));
    const auto pids = cgroup_of(state).pids();
    const std::string format = options.value("format");
    if (format == "json") {
        boost::json::array out;
        for (const pid_t pid : pids) out.push_back(pid);
        fmt::print("{}\n", boost::json::serialize(out));
        return 0;
    }
    fmt::print("PID      CMD\n");
    for (const pid_t pid : pids) {
        std::string command = read_file(fmt::format("/proc/{}/cmdline", pid));
        for (char& c : command) c = c == '\0' ? ' ' : c;
        fmt::print("{:<8} {}\n", pid, command);
    }
    return 0;
}

int pause(const Context& context, const Options& options) {
    cgroup_of(load(context.root, id_of(options))).freeze();
    return 0;
}

int resume(const Context& context, const Options& options) {
    cgroup_of(load(context.root, id_of(options))).thaw();
    return 0;
}

struct ResourcesFile {
    static oci::Resources read(const std::string& path) {
        return json::parse<oci::Resources>(path == "-" ? read_all(0, "standard input") : read_file(path));
    }
};

std::optional<std::int64_t> number(const Options& options, std::string_view name) {
    if (!options.has(name)) return std::nullopt;
    const auto value = parse_int(options.value(name));
    if (!value) fail(ErrorKind::invalid_argument, "invalid value for --{}: {:?}", name, options.value(name));
    return value;
}

int update(const Context& context, const Options& options) {
    State state = load(context.root, id_of(options));
    oci::Resources wanted = options.has("resources") ? ResourcesFile::read(options.value("resources")) : oci::Resources{};
    auto& memory = wanted.memory ? *wanted.memory : wanted.memory.emplace();
    auto& cpu = wanted.cpu ? *wanted.cpu : wanted.cpu.emplace();
    if (const auto value = number(options, "memory")) memory.limit = value;
    if (const auto value = number(options, "memory-reservation")) memory.reservation = value;
    if (const auto value = number(options, "memory-swap")) memory.swap = value;
    if (const auto value = number(options, "cpu-quota")) cpu.quota = value;
    if (const auto value = number(options, "cpu-period")) cpu.period = static_cast<std::uint64_t>(*value);
    if (const auto value = number(options, "cpu-share")) cpu.shares = static_cast<std::uint64_t>(*value);
    if (options.has("cpuset-cpus")) cpu.cpus = options.value("cpuset-cpus");
    if (options.has("cpuset-mems")) cpu.mems = options.value("cpuset-mems");
    if (const auto value = number(options, "pids-limit")) wanted.pids = oci::PidsLimit{value};
    cgroup_of(state).apply(runtime::resources_of(wanted));
    return 0;
}

int events(const Context& context, const Options& options) {
    if (!options.has("stats")) fail(ErrorKind::not_implemented, "not implemented: events without --stats");
    const State state = load(context.root, id_of(options));
    const linux::CgroupStats stats = cgroup_of(state).stats();
    fmt::print("{}\n", boost::json::serialize(boost::json::object{{"type", "stats"}, {"id", state.id}, {"data", describe_stats(stats)}}));
    return 0;
}

int spec(const Context&, const Options& options) {
    const std::string path = (options.has("bundle") ? options.value("bundle") : ".") + "/config.json";
    const Fd file{::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)};
    if (!file && errno == EEXIST) fail(ErrorKind::conflict, "File config.json exists. Remove it first");
    if (!file) fail_errno("create {}", path);
    write_all(file.get(), oci::to_json(oci::default_runtime_spec()) + "\n", path);
    return 0;
}

int features(const Context&, const Options&) {
    const auto list_of = [](const auto& names) {
        boost::json::array out;
        for (const auto& each : names) out.push_back(boost::json::string(std::string_view(each)));
        return out;
    };
    constexpr std::array<std::string_view, 6> hooks{"prestart",       "createRuntime", "createContainer",
                                                    "startContainer", "poststart",     "poststop"};
    constexpr std::array<std::string_view, 8> namespaces{"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"};
    boost::json::object on_linux{{"namespaces", list_of(namespaces)},
                                 {"capabilities", list_of(linux::capability_names(linux::known_capabilities()))},
                                 {"cgroup", {{"v1", true}, {"v2", true}, {"systemd", false}, {"systemdUser", false}, {"rdma", false}}},
                                 {"seccomp", {{"enabled", true}}},
                                 {"apparmor", {{"enabled", false}}},
                                 {"selinux", {{"enabled", false}}},
                                 {"intelRdt", {{"enabled", false}}},
                                 {"mountExtensions", {{"idmap", {{"enabled", false}}}}}};
    boost::json::object out{{"ociVersionMin", "1.0.0"},     {"ociVersionMax", oci::runtime_spec_version},
                            {"hooks", list_of(hooks)},      {"mountOptions", list_of(runtime::known_mount_options())},
                            {"linux", std::move(on_linux)}, {"potentiallyUnsafeConfigAnnotations", boost::json::array{}}};
    fmt::print("{}\n", boost::json::serialize(out));
    return 0;
}

constexpr Flag run_flags[] = {{"bundle", 'b', true},  {"console-socket", 0, true},  {"pid-file", 0, true},
                              {"no-pivot", 0, false}, {"no-new-keyring", 0, false}, {"preserve-fds", 0, true},
                              {"detach", 'd', false}, {"keep", 0, false},           {"no-subreaper", 0, false}};
constexpr Flag exec_flags[] = {{"console-socket", 0, true}, {"cwd", 0, true},          {"env", 'e', true},
                               {"tty", 't', false},         {"user", 'u', true},       {"additional-gids", 'g', true},
                               {"process", 'p', true},      {"detach", 'd', false},    {"pid-file", 0, true},
                               {"process-label", 0, true},  {"apparmor", 0, true},     {"no-new-privs", 0, false},
                               {"cap", 'c', true},          {"preserve-fds", 0, true}, {"ignore-paused", 0, false},
                               {"cgroup", 0, true}};
constexpr Flag kill_flags[] = {{"all", 'a', false}};
constexpr Flag delete_flags[] = {{"force", 'f', false}};
constexpr Flag list_flags[] = {{"format", 'f', true}, {"quiet", 'q', false}};
constexpr Flag spec_flags[] = {{"bundle", 'b', true}, {"rootless", 0, false}};
constexpr Flag events_flags[] = {{"stats", 0, false}, {"interval", 0, true}};
constexpr Flag update_flags[] = {
    {"resources", 'r', true}, {"memory", 0, true},    {"memory-reservation", 0, true}, {"memory-swap", 0, true}, {"cpu-quota", 0, true},
    {"cpu-period", 0, true},  {"cpu-share", 0, true}, {"cpuset-cpus", 0, true},        {"cpuset-mems", 0, true}, {"pids-limit", 0, true}};

constexpr Command table[] = {
    {"create", "create a container", run_flags, true, create},
    {"start", "execute the program of a created container", {}, false, start},
    {"run", "create and start a container", run_flags, true, run},
    {"exec", "run a further process in a container", exec_flags, true, exec},
    {"state", "print the state of a container", {}, false, state_command},
    {"list", "list containers", list_flags, false, list},
    {"ps", "list the processes of a container", list_flags, false, ps},
    {"kill", "send a signal (SIGTERM) to a container's init", kill_flags, false, kill_command},
    {"delete", "delete a container", delete_flags, false, delete_command},
    {"pause", "stop all processes of a container", {}, false, pause},
    {"resume", "let them go on", {}, false, resume},
    {"update", "change the limits of a container", update_flags, false, update},
    {"events", "print a container's statistics", events_flags, false, events},
    {"spec", "write a config.json to begin with", spec_flags, false, spec},
    {"features", "print what this runtime can do", {}, false, features},
};

}  // namespace

std::span<const Command> commands() { return table; }

}  // namespace grua::app
