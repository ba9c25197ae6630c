#include "oci/runtime_spec.hpp"

#include "base/text.hpp"
#include "linux/process.hpp"

#include <algorithm>
#include <array>
#include <set>

namespace grua::oci {
namespace {

[[noreturn]] void wrong(std::string_view place, std::string_view what) { fail(ErrorKind::invalid_argument, "{}: {}", place, what); }

/// Strings that become arguments of system calls: the kernel would silently end them at a NUL.
void check_text(std::string_view text, std::string_view place) {
    if (text.contains('\0')) wrong(place, "contains a NUL byte");
}

void check_absolute(std::string_view path, std::string_view place) {
    if (!path.starts_with('/')) wrong(place, fmt::format("{:?} is not an absolute path", path));
    check_text(path, place);
}

void check_version(std::string_view version) {
    if (version.empty()) wrong("ociVersion", "is missing");
    const std::vector<std::string> parts = split(version, '.');
    if (parts.size() < 3 || parts[0] != "1" || !parse_uint(parts[1])) wrong("ociVersion", fmt::format("{:?} is not supported", version));
}

void check_id_mappings(const std::vector<IdMapping>& mappings, std::string_view place) {
    constexpr std::size_t kernel_limit = 340;  // user_namespaces(7)
    if (mappings.size() > kernel_limit) wrong(place, "more than 340 mappings");
    for (const IdMapping& mapping : mappings) {
        if (mapping.size == 0) wrong(place, "a mapping of size 0");
    }
}

void check_mount(const Mount& mount, const std::string& place) {
    if (mount.destination.empty()) wrong(place, "destination is missing");
    check_text(mount.destination, place);
    check_text(mount.source, place);
    check_text(mount.type, place);
    for (const std::string& option : mount.options) check_text(option, place);
    check_id_mappings(mount.uid_mappings, place + ".uidMappings");
    check_id_mappings(mount.gid_mappings, place + ".gidMappings");
    if (mount.uid_mappings.empty() != mount.gid_mappings.empty()) wrong(place, "uidMappings and gidMappings go together");
}

void check_namespaces(const std::vector<Namespace>& namespaces) {
    std::set<std::string> seen;
    for (const Namespace& each : namespaces) {
        if (!linux::namespace_flag(each.type)) wrong("linux.namespaces", fmt::format("unknown namespace {:?}", each.type));
        if (!seen.insert(each.type).second) wrong("linux.namespaces", fmt::format("namespace {:?} is given twice", each.type));
        if (!each.path.empty()) check_absolute(each.path, "linux.namespaces");
    }
}

void check_device(const Device& device, const std::string& place) {
    check_absolute(device.path, place + ".path");
    if (device.type != "c" && device.type != "u" && device.type != "b" && device.type != "p")
        wrong(place + ".type", fmt::format("unknown device type {:?}", device.type));
}

void check_hooks(const std::vector<Hook>& hooks, const char* place) {
    for (const Hook& hook : hooks) {
        check_absolute(hook.path, place);
        if (hook.timeout && *hook.timeout <= 0) wrong(place, "timeout is not above 0");
    }
}

void check_linux(const Linux& linux) {
    check_namespaces(linux.namespaces);
    check_id_mappings(linux.uid_mappings, "linux.uidMappings");
    check_id_mappings(linux.gid_mappings, "linux.gidMappings");
    for (std::size_t i = 0; i < linux.devices.size(); ++i) check_device(linux.devices[i], fmt::format("linux.devices[{}]", i));
    for (const auto& path : linux.masked_paths) check_absolute(path, "linux.maskedPaths");
    for (const auto& path : linux.readonly_paths) check_absolute(path, "linux.readonlyPaths");
    for (const auto& [clock, offset] : linux.time_offsets) {
        if (clock != "monotonic" && clock != "boottime") wrong("linux.timeOffsets", fmt::format("unknown clock {:?}", clock));
        if (offset.nanosecs >= 1'000'000'000) wrong("linux.timeOffsets", "nanosecs is a second or more");
    }
    constexpr std::array<std::string_view, 9> propagations{"",       "private", "rprivate",   "slave",      "rslave",
                                                           "shared", "rshared", "unbindable", "runbindable"};
    if (std::ranges::find(propagations, linux.rootfs_propagation) == std::end(propagations))
        wrong("linux.rootfsPropagation", fmt::format("unknown propagation {:?}", linux.rootfs_propagation));
    for (const auto& [name, value] : linux.sysctl) {
        check_text(name, "linux.sysctl");
        check_text(value, "linux.sysctl");
    }
}

}  // namespace

void check(const Process& process) {
    if (process.args.empty()) wrong("process.args", "must not be empty");
    for (const auto& argument : process.args) check_text(argument, "process.args");
    for (const auto& variable : process.env) check_text(variable, "process.env");
    check_absolute(process.cwd, "process.cwd");
    if (process.oom_score_adj && (*process.oom_score_adj < -1000 || *process.oom_score_adj > 1000))
        wrong("process.oomScoreAdj", "is not between -1000 and 1000");
    std::set<std::string> seen;
    for (const Rlimit& limit : process.rlimits) {
        if (!seen.insert(limit.type).second) wrong("process.rlimits", fmt::format("{} is given twice", limit.type));
    }
}

void check(const RuntimeSpec& spec) {
    check_version(spec.oci_version);
    if (spec.process) check(*spec.process);
    if (spec.root && spec.root->path.empty()) wrong("root.path", "is missing");
    if (spec.root) check_text(spec.root->path, "root.path");
    check_text(spec.hostname, "hostname");
    check_text(spec.domainname, "domainname");
    for (std::size_t i = 0; i < spec.mounts.size(); ++i) check_mount(spec.mounts[i], fmt::format("mounts[{}]", i));
    if (spec.hooks) {
        check_hooks(spec.hooks->prestart, "hooks.prestart");
        check_hooks(spec.hooks->create_runtime, "hooks.createRuntime");
        check_hooks(spec.hooks->create_container, "hooks.createContainer");
        check_hooks(spec.hooks->start_container, "hooks.startContainer");
        check_hooks(spec.hooks->poststart, "hooks.poststart");
        check_hooks(spec.hooks->poststop, "hooks.poststop");
    }
    if (spec.linux_) check_linux(*spec.linux_);
}

RuntimeSpec parse_runtime_spec(std::string_view text) {
    auto spec = json::parse<RuntimeSpec>(text);
    check(spec);
    return spec;
}

Process parse_process(std::string_view text) {
    auto process = json::parse<Process>(text);
    check(process);
    return process;
}

std::string to_json(const RuntimeSpec& spec) { return json::dump(spec, {1, 0}); }
std::string to_json(const Process& process) { return json::dump(process, {1, 0}); }
json::Value to_value(const Process& process) { return json::detail::write(process, {1, 0}); }

RuntimeSpec default_runtime_spec() {
    RuntimeSpec spec;
    spec.oci_version = runtime_spec_version;
    Process& process = spec.process.emplace();
    process.terminal = true;
    process.args = {"sh"};
    process.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"};
    const std::vector<std::string> capabilities{"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"};
    process.capabilities = Capabilities{.bounding = capabilities, .effective = capabilities, .permitted = capabilities};
    process.rlimits = {{"RLIMIT_NOFILE", 1024, 1024}};
    process.no_new_privileges = true;
    spec.root = RootFilesystem{"rootfs", true};
    spec.hostname = "grua";
    spec.mounts = {
        {"/proc", "proc", "proc", {}},
        {"/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}},
        {"/dev/pts", "devpts", "devpts", {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
        {"/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
        {"/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}},
        {"/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}},
        {"/sys/fs/cgroup", "cgroup", "cgroup", {"nosuid", "noexec", "nodev", "relatime", "ro"}},
    };
    Linux& linux = spec.linux_.emplace();
    linux.resources = Resources{.devices = {{.allow = false, .access = "rwm"}}};
    linux.namespaces = {{"pid", ""}, {"network", ""}, {"ipc", ""}, {"uts", ""}, {"mount", ""}, {"cgroup", ""}};
    linux.masked_paths = {"/proc/acpi",       "/proc/asound",      "/proc/kcore",       "/proc/keys",    "/proc/latency_stats",
                          "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"};
    linux.readonly_paths = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
    return spec;
}

}  // namespace grua::oci
