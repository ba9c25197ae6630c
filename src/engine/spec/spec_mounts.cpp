// What a container finds mounted: Docker's default set, the three files of the network, its volumes, binds and tmpfs.
#include "base/text.hpp"
#include "engine/spec/spec.hpp"

#include <algorithm>

namespace grua::engine {
namespace {

oci::Mount mount(std::string destination, std::string type, std::string source, StringList options) {
    oci::Mount out;
    out.destination = std::move(destination);
    out.type = std::move(type);
    out.source = std::move(source);
    out.options = std::move(options);
    return out;
}

/// In the place of a path where the mount comes as a descriptor; it is the path of nothing.
constexpr const char* given_source = "given";

std::vector<oci::Mount> default_mounts(const SpecInput& input) {
    const HostConfig& config = input.record.host_config;
    const bool rw = config.privileged;
    const bool rw_cgroups = rw || parse_security_options(config).writable_cgroups;
    std::vector<oci::Mount> out;
    out.push_back(mount("/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}));
    out.push_back(mount("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}));
    out.push_back(mount("/dev/pts", "devpts", "devpts", {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}));
    out.push_back(mount("/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", rw ? "rw" : "ro"}));
    out.push_back(mount("/sys/fs/cgroup", "cgroup", "cgroup", {rw_cgroups ? "rw" : "ro", "nosuid", "noexec", "nodev"}));
    // Of the IPC namespace that it is mounted from: with the host's it is the host's, whether that has it mounted or not.
    out.push_back(mount("/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}));
    if (config.ipc_mode == "host")
        out.push_back(mount("/dev/shm", "bind", "/dev/shm", {"rbind", "nosuid", "noexec", "nodev"}));
    else if (input.joined_namespaces.contains("ipc"))
        out.push_back(mount("/dev/shm", "bind", given_source, {"rbind", "nosuid", "noexec", "nodev"}));
    else if (config.ipc_mode != "none")
        out.push_back(
            mount("/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", fmt::format("size={}", config.shm_size)}));
    return out;
}

bool has_recursive_read_only(const HostFacts& host) { return host.kernel >= std::pair(5, 12); }

oci::Mount bind(const SpecInput& input, const MountPoint& point) {
    const MountDetail detail = detail_of(input.record, point.destination);
    const BindOptions options = detail.bind.value_or(BindOptions{});
    StringList out{options.non_recursive ? "bind" : "rbind"};
    if (!point.rw) {
        const bool recursive = !options.non_recursive && !options.read_only_non_recursive;
        if (options.read_only_force_recursive && !has_recursive_read_only(input.host))
            fail(ErrorKind::invalid_argument, "rro is not supported: requires kernel 5.12 or later");
        // Docker falls back to a plain read-only bind where the mount propagates or the kernel is old.
        const bool can = recursive && has_recursive_read_only(input.host);
        out.emplace_back(can ? "rro" : "ro");
    }
    out.push_back(point.propagation.empty() ? "rprivate" : point.propagation);
    return mount(point.destination, "bind", is_given(point, detail) ? std::string(given_source) : point.source, std::move(out));
}

/// "size=64m,mode=1770,ro": what mount(8) would take. Docker puts these before.
StringList tmpfs_options(std::string_view asked) {
    StringList out{"noexec", "nosuid", "nodev"};
    if (asked.empty()) return out;
    for (auto& option : split(asked, ',')) {
        if (option == "exec" || option == "suid" || option == "dev") std::erase(out, "no" + option);
        if (!option.empty()) out.push_back(std::move(option));
    }
    return out;
}

StringList tmpfs_options(const MountPoint& point, const TmpfsOptions& asked) {
    StringList out{"noexec", "nosuid", "nodev"};
    if (!point.rw) out.emplace_back("ro");
    if (asked.mode != 0) out.push_back(fmt::format("mode={:o}", asked.mode));
    if (asked.size_bytes > 0) out.push_back(fmt::format("size={}", asked.size_bytes));
    for (const auto& option : asked.options) {
        if (option.size() == 1 && option[0] == "exec") std::erase(out, "noexec");
        out.push_back(join(option, "="));
    }
    return out;
}

std::size_t depth(std::string_view path) { return static_cast<std::size_t>(std::ranges::count(path, '/')) - (path == "/" ? 1U : 0U); }

}  // namespace

bool is_given(const MountPoint& point, const MountDetail& detail) {
    return point.type == "image" || point.type == "given" || !detail.subpath.empty();
}

std::vector<oci::Mount> spec_mounts(const SpecInput& input) {
    const ContainerRecord& record = input.record;
    std::vector<oci::Mount> own;
    for (const MountPoint& point : record.mounts) {
        if (point.type == "tmpfs") {
            const TmpfsOptions asked = detail_of(record, point.destination).tmpfs.value_or(TmpfsOptions{});
            own.push_back(mount(point.destination, "tmpfs", "tmpfs", tmpfs_options(point, asked)));
        } else {
            own.push_back(bind(input, point));
        }
    }
    for (const auto& [destination, options] : record.host_config.tmpfs)
        own.push_back(mount(destination, "tmpfs", "tmpfs", tmpfs_options(options)));

    const auto mounted = [&](const std::string& destination) {
        return std::ranges::find(own, destination, &oci::Mount::destination) != own.end();
    };
    const auto add_file = [&](const std::string& source, const char* destination) {
        if (source.empty() || mounted(destination)) return;
        std::vector<std::string> options{"rbind", "rprivate"};
        if (record.host_config.readonly_rootfs) options.emplace_back("ro");
        own.push_back(mount(destination, "bind", source, std::move(options)));
    };
    add_file(record.resolv_conf_path, "/etc/resolv.conf");
    add_file(record.hostname_path, "/etc/hostname");
    add_file(record.hosts_path, "/etc/hosts");
    if (!input.init_path.empty()) own.push_back(mount("/sbin/docker-init", "bind", input.init_path, {"bind", "ro"}));

    // A folder is mounted before what is in it.
    std::multimap<std::size_t, oci::Mount> by_depth;
    for (oci::Mount& each : own) by_depth.emplace(depth(each.destination), each);
    std::vector<oci::Mount> out;
    for (oci::Mount& each : default_mounts(input))
        if (!mounted(each.destination) && !(each.destination.starts_with("/dev/") && mounted("/dev"))) out.push_back(std::move(each));
    for (auto& [level, each] : by_depth) out.push_back(std::move(each));
    return out;
}

}  // namespace grua::engine
