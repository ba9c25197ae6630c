#include "inspect.hpp"

#include "base/files.hpp"
#include "base/text.hpp"
#include "base/units.hpp"
#include "linux/capabilities.hpp"
#include "linux/cgroup_stats.hpp"
#include "linux/seccomp.hpp"
#include "output_of.hpp"
#include "runtime/mount_options.hpp"
#include "state.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <chrono>
#include <cstdio>

namespace grua::app {
namespace {

boost::json::object describe(const Context& context, const State& state) {
    const std::string status = status_of(context.root, state);
    const std::string path = state.spec.root ? state.spec.root->path : std::string{};
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
    out["owner"] = ::geteuid() == 0 ? "root" : std::to_string(::geteuid());
    return out;
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

void print(const boost::json::value& value) {
    fmt::print("{}\n", boost::json::serialize(value));
    std::fflush(stdout);
}

void print_stats(const State& state) {
    print(boost::json::object{{"type", "stats"}, {"id", state.id}, {"data", describe_stats(cgroup_of(state).stats())}});
}

std::string checked_format(const Options& options) {
    const std::string format = options.given("format") ? options.text("format") : "table";
    if (format != "table" && format != "json") fail(ErrorKind::invalid_argument, "invalid format option {:?}: table or json", format);
    return format;
}

/// Of what ps prints, the head and the lines of these processes.
void print_lines_of(const std::string& table, const std::vector<pid_t>& pids) {
    std::optional<std::size_t> column;
    for (const std::string& line : split(table, '\n')) {
        std::vector<std::string> fields;
        for (std::string& field : split(line, ' ')) {
            if (!field.empty()) fields.push_back(std::move(field));
        }
        if (!column) {
            const auto found = std::ranges::find(fields, "PID");
            if (found == fields.end()) fail(ErrorKind::invalid_argument, "ps prints no column PID with these options");
            column = static_cast<std::size_t>(found - fields.begin());
        } else {
            const auto pid = *column < fields.size() ? parse_int(fields[*column]) : std::nullopt;
            if (!pid || !std::ranges::binary_search(pids, static_cast<pid_t>(*pid))) continue;
        }
        fmt::print("{}\n", line);
    }
}

/// For an ordinary user, as runc's is: of the host's network, with /sys bound and one ID.
void make_rootless(oci::RuntimeSpec& spec) {
    oci::Linux& linux = *spec.linux_;
    std::erase_if(linux.namespaces, [](const auto& each) { return each.type == "network"; });
    linux.namespaces.push_back({"user", ""});
    linux.uid_mappings = {{0, ::geteuid(), 1}};
    linux.gid_mappings = {{0, ::getegid(), 1}};
    linux.resources.reset();
    std::erase_if(spec.mounts, [](const auto& each) { return each.destination.starts_with("/sys"); });
    for (oci::Mount& mount : spec.mounts)
        std::erase_if(mount.options, [](const auto& option) { return option.starts_with("gid=") || option.starts_with("uid="); });
    spec.mounts.push_back({"/sys", "none", "/sys", {"rbind", "nosuid", "noexec", "nodev", "ro"}});
}

boost::json::array list_of(const auto& names) {
    boost::json::array out;
    for (const auto& each : names) out.push_back(boost::json::string(std::string_view(each)));
    return out;
}

}  // namespace

int state_command(const Context& context, const Options& options) {
    print(describe(context, load(context.root, options.arguments().front())));
    return 0;
}

int list_command(const Context& context, const Options& options) {
    const std::string format = checked_format(options);
    const std::vector<State> all = load_all(context.root);
    if (options.on("quiet")) {
        for (const State& each : all) fmt::print("{}\n", each.id);
    } else if (format == "json") {
        boost::json::array out;
        for (const State& each : all) out.push_back(describe(context, each));
        print(out);
    } else {
        fmt::print("{:<12}{:<12}{:<12}{:<24}{:<34}{}\n", "ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER");
        for (const State& each : all) {
            const boost::json::object described = describe(context, each);
            fmt::print("{:<11} {:<11} {:<11} {:<23} {:<33} {}\n", each.id, described.at("pid").to_number<pid_t>(),
                       std::string_view(described.at("status").get_string()), each.bundle, each.created,
                       std::string_view(described.at("owner").get_string()));
        }
    }
    return 0;
}

int ps(const Context& context, const Options& options) {
    const std::string format = checked_format(options);
    const State state = load(context.root, options.arguments().front());
    auto pids = cgroup_of(state).pids();
    if (pids.empty() && open_init(state)) pids.push_back(state.pid);  // Without a cgroup that is all that is known.
    if (format == "json") {
        boost::json::array out;
        for (const pid_t pid : pids) out.push_back(pid);
        print(out);
        return 0;
    }
    std::vector<std::string> words{"ps"};
    words.insert(words.end(), options.arguments().begin() + 1, options.arguments().end());
    if (words.size() == 1) words.emplace_back("-ef");
    print_lines_of(output_of(words), pids);
    return 0;
}

int events(const Context& context, const Options& options) {
    const auto interval = std::chrono::nanoseconds{options.given("interval") ? parse_duration(options.text("interval")) : 5'000'000'000};
    if (interval <= std::chrono::nanoseconds::zero()) fail(ErrorKind::invalid_argument, "--interval must be greater than 0");
    const State state = load(context.root, options.arguments().front());
    const Fd init = open_init(state);
    if (!init) fail(ErrorKind::conflict, "container with id {} is not running", state.id);
    if (options.on("stats")) {
        print_stats(state);
        return 0;
    }
    const linux::Cgroup cgroup = cgroup_of(state);
    const Fd memory = cgroup.watch_memory_events();
    std::uint64_t killed = cgroup.oom_kills();
    auto next = std::chrono::steady_clock::now() + interval;
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - std::chrono::steady_clock::now());
        std::array<pollfd, 2> wait{{{init.get(), POLLIN, 0}, {memory.get(), POLLIN, 0}}};
        if (::poll(wait.data(), wait.size(), static_cast<int>(std::max<std::int64_t>(left.count(), 0))) < 0 && errno != EINTR)
            fail_errno("poll");
        std::array<char, 4096> unused{};
        if (wait[1].revents != 0 && ::read(memory.get(), unused.data(), unused.size()) < 0 && errno != EAGAIN) fail_errno("read an event");
        // Looked at each time: cgroup v1 tells of the lack of memory before anybody is killed for it.
        const std::uint64_t now_killed = cgroup.oom_kills();
        if (now_killed > killed) print(boost::json::object{{"type", "oom"}, {"id", state.id}});
        killed = std::max(killed, now_killed);
        if (wait[0].revents != 0) return 0;
        if (std::chrono::steady_clock::now() >= next) {
            print_stats(state);
            next += interval;
        }
    }
}

int spec(const Context&, const Options& options) {
    const std::string path = (options.given("bundle") ? options.text("bundle") : ".") + "/config.json";
    const Fd file{::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)};
    if (!file && errno == EEXIST) fail(ErrorKind::conflict, "File config.json exists. Remove it first");
    if (!file) fail_errno("create {}", path);
    oci::RuntimeSpec spec = oci::default_runtime_spec();
    if (options.on("rootless")) make_rootless(spec);
    write_all(file.get(), oci::to_json(spec) + "\n", path);
    return 0;
}

int features(const Context&, const Options&) {
    constexpr std::array<std::string_view, 6> hooks{"prestart",       "createRuntime", "createContainer",
                                                    "startContainer", "poststart",     "poststop"};
    constexpr std::array<std::string_view, 8> namespaces{"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"};
    const linux::SeccompNames seccomp = linux::seccomp_names();
    boost::json::object on_linux{{"namespaces", list_of(namespaces)},
                                 {"capabilities", list_of(linux::capability_names(linux::known_capabilities()))},
                                 {"cgroup", {{"v1", true}, {"v2", true}, {"systemd", false}, {"systemdUser", false}, {"rdma", false}}},
                                 {"seccomp",
                                  {{"enabled", true},
                                   {"actions", list_of(seccomp.actions)},
                                   {"operators", list_of(seccomp.operators)},
                                   {"archs", list_of(seccomp.architectures)},
                                   {"knownFlags", list_of(seccomp.flags)},
                                   {"supportedFlags", list_of(seccomp.kernel_flags)}}},
                                 {"apparmor", {{"enabled", true}}},
                                 {"selinux", {{"enabled", false}}},
                                 {"intelRdt", {{"enabled", false}}},
                                 {"mountExtensions", {{"idmap", {{"enabled", false}}}}},
                                 {"netDevices", {{"enabled", true}}}};
    print(boost::json::object{{"ociVersionMin", "1.0.0"},
                              {"ociVersionMax", oci::runtime_spec_version},
                              {"hooks", list_of(hooks)},
                              {"mountOptions", list_of(runtime::known_mount_options())},
                              {"linux", std::move(on_linux)},
                              {"potentiallyUnsafeConfigAnnotations", boost::json::array{}}});
    return 0;
}

}  // namespace grua::app
