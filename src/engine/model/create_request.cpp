#include "engine/model/create_request.hpp"

#include "base/text.hpp"
#include "engine/model/capability_set.hpp"
#include "engine/model/restart_policy.hpp"
#include "engine/model/signals.hpp"
#include "engine/networking/networking.hpp"

#include <algorithm>
#include <filesystem>
#include <set>

namespace grua::engine {
namespace {

constexpr std::int64_t smallest_memory = std::int64_t{6} << 20;
constexpr std::size_t hostname_limit = 63;
constexpr std::int64_t shortest_health_time = 1'000'000;

HealthConfig from_image(const oci::HealthConfig& in) {
    return {.test = in.test,
            .interval = in.interval,
            .timeout = in.timeout,
            .start_period = in.start_period,
            .start_interval = in.start_interval,
            .retries = in.retries};
}

void merge_health(std::optional<HealthConfig>& asked, const std::optional<oci::HealthConfig>& image) {
    if (!image) return;
    if (!asked) {
        asked = from_image(*image);
        return;
    }
    const auto inherit = [](auto& value, const auto& from) {
        if (value == std::remove_cvref_t<decltype(value)>{}) value = from;
    };
    inherit(asked->test, image->test);
    inherit(asked->interval, image->interval);
    inherit(asked->timeout, image->timeout);
    inherit(asked->start_period, image->start_period);
    inherit(asked->start_interval, image->start_interval);
    inherit(asked->retries, image->retries);
}

/// "0-2,4" against the number of CPUs.
void check_cpuset(const std::string& text, unsigned cpus) {
    if (text.empty()) return;
    std::int64_t highest = 0;
    for (const auto& range : split(text, ',')) {
        const auto ends = split(range, '-');
        const auto first = parse_uint(ends[0]);
        const auto last = ends.size() == 2 ? parse_uint(ends[1]) : first;
        if (!first || !last || ends.size() > 2 || *first > *last || *last > 8192)
            fail(ErrorKind::invalid_argument, "Invalid value {} for cpuset cpus", text);
        highest = std::max(highest, static_cast<std::int64_t>(*last));
    }
    if (highest >= static_cast<std::int64_t>(cpus))
        fail(ErrorKind::invalid_argument, "Requested CPUs are not available - requested {}, available: 0-{}", text, cpus - 1);
}

void check_config(ContainerConfig& config) {
    if (!config.working_dir.empty()) {
        if (!config.working_dir.starts_with('/'))
            fail(ErrorKind::invalid_argument, "the working directory '{}' is invalid, it needs to be an absolute path", config.working_dir);
        config.working_dir = std::filesystem::path(config.working_dir).lexically_normal().string();
        if (config.working_dir.size() > 1 && config.working_dir.ends_with('/')) config.working_dir.pop_back();
    }
    if (!config.stop_signal.empty()) parse_signal(config.stop_signal);
    for (const auto& each : config.env)
        if (each.empty() || each.starts_with('=')) fail(ErrorKind::invalid_argument, "invalid environment variable: {}", each);
    if (config.hostname.size() > hostname_limit)
        fail(ErrorKind::invalid_argument, "hostname \"{}\" is too long (maximum {} bytes)", config.hostname, hostname_limit);
    if (!config.healthcheck) return;
    const auto check_time = [](std::int64_t value, const char* name) {
        if (value != 0 && value < shortest_health_time)
            fail(ErrorKind::invalid_argument, "{} in Healthcheck cannot be less than 1ms", name);
    };
    check_time(config.healthcheck->interval, "Interval");
    check_time(config.healthcheck->timeout, "Timeout");
    check_time(config.healthcheck->start_period, "StartPeriod");
    check_time(config.healthcheck->start_interval, "StartInterval");
    if (config.healthcheck->retries < 0) fail(ErrorKind::invalid_argument, "Retries in Healthcheck cannot be negative");
}

void check_capabilities(const HostConfig& config) {
    while_doing("invalid CapAdd", [&] { normalize_capabilities(config.cap_add); });
    while_doing("invalid CapDrop", [&] { normalize_capabilities(config.cap_drop); });
}

bool is_container_mode(std::string_view mode) { return mode.starts_with("container:") && mode.size() > 10; }

void check_modes(const HostConfig& config) {
    const auto one_of = [](std::string_view mode, std::initializer_list<std::string_view> allowed) {
        return mode.empty() || std::ranges::find(allowed, mode) != allowed.end();
    };
    if (!one_of(config.ipc_mode, {"none", "private", "shareable", "host"}) && !is_container_mode(config.ipc_mode))
        fail(ErrorKind::invalid_argument, "invalid IPC mode: {}", config.ipc_mode);
    if (is_container_mode(config.ipc_mode)) fail(ErrorKind::not_implemented, "not implemented: IPC mode {}", config.ipc_mode);
    if (!one_of(config.pid_mode, {"host", "private"}) && !is_container_mode(config.pid_mode))
        fail(ErrorKind::invalid_argument, "invalid PID mode: {}", config.pid_mode);
    if (!one_of(config.uts_mode, {"host"})) fail(ErrorKind::invalid_argument, "invalid UTS mode: {}", config.uts_mode);
    if (!one_of(config.cgroupns_mode, {"host", "private"}))
        fail(ErrorKind::invalid_argument, "invalid cgroup namespace mode: {}", config.cgroupns_mode);
    if (!one_of(config.userns_mode, {"host"})) fail(ErrorKind::invalid_argument, "invalid USER mode: {}", config.userns_mode);
}

void check_not_built(const ContainerConfig& config, const HostConfig& host) {
    const auto refuse = [](bool asked, const char* what) {
        if (asked) fail(ErrorKind::not_implemented, "not implemented: {}", what);
    };
    refuse(!host.device_requests.empty(), "device requests");
    refuse(!host.storage_opt.empty(), "storage options");
    refuse(!host.runtime.empty() && host.runtime != "grua" && host.runtime != "runc" && host.runtime != "io.containerd.runc.v2",
           "other runtimes");
    refuse(!host.log_config.type.empty() && host.log_config.type != "json-file" && host.log_config.type != "none",
           "log drivers other than json-file and none");
    const bool checks_health = config.healthcheck && !config.healthcheck->test.empty() && config.healthcheck->test.front() != "NONE";
    refuse(checks_health, "health checks");
}

// --- mounts ----------------------------------------------------------------------------------------------------------

std::string clean_path(const std::string& path) {
    std::string out = std::filesystem::path(path).lexically_normal().string();
    if (out.size() > 1 && out.ends_with('/')) out.pop_back();
    return out;
}

void check_destination(const std::string& destination, const std::string& spec) {
    if (destination == "/")
        fail(ErrorKind::invalid_argument, "invalid volume specification: '{}': invalid mount config: destination can't be '/'", spec);
    if (!destination.starts_with('/'))
        fail(ErrorKind::invalid_argument, "invalid volume specification: '{0}': invalid mount path: '{1}' mount path must be absolute",
             spec, destination);
}

/// The third part of -v.
void apply_mode(PlannedMount& mount, const std::string& mode) {
    static const std::set<std::string> propagations{"private", "rprivate", "shared", "rshared", "slave", "rslave"};
    static const std::set<std::string> ignored{"z", "Z", "consistent", "cached", "delegated", "rw"};
    for (const auto& option : split(mode, ',')) {
        if (option == "ro")
            mount.point.rw = false;
        else if (option == "nocopy" && mount.point.type == "volume")
            mount.copy = false;
        else if (propagations.contains(option) && mount.point.type == "bind")
            mount.point.propagation = option;
        else if (!ignored.contains(option))
            fail(ErrorKind::invalid_argument, "invalid mode: {}", mode);
    }
}

PlannedMount plan_bind(const std::string& spec) {
    const auto parts = split(spec, ':');
    if (parts.empty() || parts.size() > 3 || parts[0].empty())
        fail(ErrorKind::invalid_argument, "invalid volume specification: '{}'", spec);
    PlannedMount out;
    if (parts.size() == 1) {
        out.point.type = "volume";
        out.point.destination = clean_path(parts[0]);
        out.anonymous = true;
        check_destination(out.point.destination, spec);
        return out;
    }
    out.point.destination = clean_path(parts[1]);
    check_destination(out.point.destination, spec);
    if (parts[0].starts_with('/')) {
        out.point.type = "bind";
        out.point.source = clean_path(parts[0]);
        out.point.propagation = "rprivate";
        out.create_source = true;
    } else {
        out.point.type = "volume";
        out.point.name = parts[0];
        out.point.driver = "local";
        out.point.mode = "z";
    }
    if (parts.size() == 3) {
        apply_mode(out, parts[2]);
        out.point.mode = parts[2];
    }
    return out;
}

PlannedMount plan_mount(const Mount& mount) {
    const auto bad = [&](const std::string& why) {
        fail(ErrorKind::invalid_argument, "invalid mount config for type \"{}\": {}", mount.type, why);
    };
    if (mount.target.empty()) bad("field Target must not be empty");
    PlannedMount out;
    out.point.type = mount.type;
    out.point.destination = clean_path(mount.target);
    out.point.rw = !mount.read_only;
    if (!mount.target.starts_with('/')) bad(fmt::format("invalid mount path: '{}' mount path must be absolute", mount.target));
    if (out.point.destination == "/") bad("destination can't be '/'");
    if (mount.type == "bind") {
        if (mount.source.empty()) bad("field Source must not be empty");
        if (!mount.source.starts_with('/')) bad(fmt::format("invalid mount path: '{}' mount path must be absolute", mount.source));
        if (mount.volume_options) bad("field VolumeOptions must not be specified");
        out.point.source = clean_path(mount.source);
        out.point.propagation = "rprivate";
        if (mount.bind_options && !mount.bind_options->propagation.empty()) out.point.propagation = mount.bind_options->propagation;
        out.create_source = mount.bind_options && mount.bind_options->create_mountpoint;
    } else if (mount.type == "volume") {
        if (mount.bind_options) bad("field BindOptions must not be specified");
        out.point.name = mount.source;
        out.point.driver = "local";
        out.anonymous = mount.source.empty();
        if (mount.volume_options) {
            if (!mount.volume_options->subpath.empty()) fail(ErrorKind::not_implemented, "not implemented: subpaths of volumes");
            out.copy = !mount.volume_options->no_copy;
            out.labels = mount.volume_options->labels;
        }
    } else if (mount.type == "tmpfs") {
        if (!mount.source.empty()) bad("field Source must not be specified");
    } else if (mount.type == "image" || mount.type == "cluster" || mount.type == "npipe") {
        fail(ErrorKind::not_implemented, "not implemented: mounts of type {}", mount.type);
    } else {
        bad("mount type unknown");
    }
    return out;
}

}  // namespace

void merge_image(ContainerConfig& config, const oci::ImageRunConfig& image) {
    if (config.user.empty()) config.user = image.user;
    for (const auto& [port, value] : image.exposed_ports) config.exposed_ports.try_emplace(port, value);
    config.env = merge_env(image.env, config.env);
    for (const auto& [key, value] : image.labels) config.labels.try_emplace(key, value);
    const bool has_command = config.cmd && !config.cmd->empty();
    if (!config.entrypoint || config.entrypoint->empty()) {
        if (!has_command) config.cmd = image.cmd;
        if (!config.entrypoint) config.entrypoint = image.entrypoint;
    }
    if (config.entrypoint && config.entrypoint->size() == 1 && config.entrypoint->front().empty()) config.entrypoint.reset();
    if (config.working_dir.empty()) config.working_dir = image.working_dir;
    for (const auto& [path, value] : image.volumes) config.volumes.try_emplace(path, value);
    if (config.stop_signal.empty()) config.stop_signal = image.stop_signal;
    if (!config.stop_timeout) config.stop_timeout = image.stop_timeout;
    if (config.shell.empty()) config.shell = image.shell;
    merge_health(config.healthcheck, image.healthcheck);
    if (command_of(config).empty()) fail(ErrorKind::invalid_argument, "no command specified");
}

StringList command_of(const ContainerConfig& config) {
    StringList out = config.entrypoint.value_or(StringList{});
    if (config.cmd) out.insert(out.end(), config.cmd->begin(), config.cmd->end());
    return out;
}

StringList check_resources(Resources& limits, const HostFacts& host) {
    StringList warnings;
    const auto refuse = [](const char* text) { fail(ErrorKind::invalid_argument, "{}", text); };
    if (limits.memory != 0 && limits.memory < smallest_memory) refuse("Minimum memory limit allowed is 6MB");
    if (limits.memory > 0 && limits.memory_swap != -1 && !host.swap_limit) {
        if (limits.memory_swap > 0)
            warnings.emplace_back(
                "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.");
        limits.memory_swap = -1;
    }
    if (limits.memory > 0 && limits.memory_swap > 0 && limits.memory_swap < limits.memory)
        refuse("Minimum memoryswap limit should be larger than memory limit, see usage");
    if (limits.memory == 0 && limits.memory_swap > 0)
        refuse("You should always set the Memory limit when using Memoryswap limit, see usage");
    if (limits.memory_swappiness && *limits.memory_swappiness == -1) limits.memory_swappiness.reset();
    if (limits.memory_swappiness && (*limits.memory_swappiness < 0 || *limits.memory_swappiness > 100))
        fail(ErrorKind::invalid_argument, "Invalid value: {}, valid memory swappiness range is 0-100", *limits.memory_swappiness);
    if (limits.memory_reservation > 0 && limits.memory_reservation < smallest_memory) refuse("Minimum memory reservation allowed is 6MB");
    if (limits.memory > 0 && limits.memory_reservation > 0 && limits.memory < limits.memory_reservation)
        refuse("Minimum memory limit can not be less than memory reservation limit, see usage");
    if (limits.oom_kill_disable && host.cgroup_v2) {
        if (*limits.oom_kill_disable) warnings.emplace_back("Your kernel does not support OomKillDisable. OomKillDisable discarded.");
        limits.oom_kill_disable.reset();
    }
    if (limits.nano_cpus > 0 && limits.cpu_period > 0) refuse("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    if (limits.nano_cpus > 0 && limits.cpu_quota > 0) refuse("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    if (limits.nano_cpus < 0 || limits.nano_cpus > std::int64_t{host.cpus} * 1'000'000'000)
        fail(ErrorKind::invalid_argument, "range of CPUs is from 0.01 to {0}.00, as there are only {0} CPUs available", host.cpus);
    if (limits.cpu_period != 0 && (limits.cpu_period < 1000 || limits.cpu_period > 1'000'000))
        refuse("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)");
    if (limits.cpu_quota > 0 && limits.cpu_quota < 1000) refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    check_cpuset(limits.cpuset_cpus, host.cpus);
    if (limits.blkio_weight > 0 && (limits.blkio_weight < 10 || limits.blkio_weight > 1000))
        refuse("Range of blkio weight is from 10 to 1000");
    if (limits.io_maximum_bandwidth != 0 || limits.io_maximum_iops != 0)
        refuse("Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps");
    for (const auto& rule : limits.device_cgroup_rules) parse_device_rule(rule);
    return warnings;
}

StringList check_request(ContainerConfig& config, HostConfig& host_config, const HostFacts& host) {
    check_config(config);
    if (host_config.auto_remove && !is_none(host_config.restart_policy))
        fail(ErrorKind::invalid_argument, "can't create 'AutoRemove' container with restart policy");
    check(host_config.restart_policy);
    check_capabilities(host_config);
    StringList warnings = check_resources(host_config, host);
    check_modes(host_config);
    if (host_config.shm_size < 0) fail(ErrorKind::invalid_argument, "SHM size can not be less than 0");
    if (host_config.oom_score_adj < -1000 || host_config.oom_score_adj > 1000)
        fail(ErrorKind::invalid_argument, "Invalid value {}, range for oom score adj is [-1000, 1000]", host_config.oom_score_adj);
    if (host_config.annotations.contains(""))
        fail(ErrorKind::invalid_argument, "invalid Annotations: the empty string is not permitted as an annotation key");
    parse_security_options(host_config);
    check_not_built(config, host_config);
    take_labels(config.labels, host_config);
    check_networking(config, host_config);
    if (host_config.network_mode == "host" && !host_config.port_bindings.empty())
        warnings.emplace_back("Published ports are discarded when using host network mode");

    if (host_config.network_mode.empty()) host_config.network_mode = "default";
    if (host_config.memory > 0 && host_config.memory_swap == 0) host_config.memory_swap = host_config.memory * 2;
    if (host_config.log_config.type.empty()) host_config.log_config.type = "json-file";
    if (host_config.ipc_mode.empty()) host_config.ipc_mode = "private";
    if (host_config.cgroupns_mode.empty()) host_config.cgroupns_mode = host.cgroup_v2 ? "private" : "host";
    if (host_config.runtime.empty()) host_config.runtime = "grua";
    if (host_config.restart_policy.name.empty()) host_config.restart_policy.name = "no";
    return warnings;
}

std::vector<PlannedMount> plan_mounts(const ContainerConfig& config, const HostConfig& host_config, const std::vector<MountsFrom>& from) {
    std::map<std::string, PlannedMount> by_place;
    for (const MountsFrom& other : from) {
        for (const MountPoint& point : other.container->mounts) {
            if (point.type == "tmpfs") continue;
            PlannedMount mount{.point = point, .copy = false};
            if (other.read_only) mount.point.rw = false;
            by_place.insert_or_assign(point.destination, std::move(mount));
        }
    }
    std::set<std::string> asked;
    const auto add = [&](PlannedMount mount) {
        const std::string place = mount.point.destination;
        if (!asked.insert(place).second || host_config.tmpfs.contains(place))
            fail(ErrorKind::invalid_argument, "Duplicate mount point: {}", place);
        by_place.insert_or_assign(place, std::move(mount));
    };
    for (const auto& [place, options] : host_config.tmpfs) check_destination(clean_path(place), place);
    for (const auto& spec : host_config.binds) add(plan_bind(spec));
    for (const auto& mount : host_config.mounts) add(plan_mount(mount));
    for (const auto& [path, value] : config.volumes) {
        const std::string place = clean_path(path);
        check_destination(place, path);
        if (by_place.contains(place) || host_config.tmpfs.contains(place)) continue;
        PlannedMount mount;
        mount.point.type = "volume";
        mount.point.driver = "local";
        mount.point.destination = place;
        mount.anonymous = true;
        by_place.emplace(place, std::move(mount));
    }
    std::vector<PlannedMount> out;
    out.reserve(by_place.size());
    for (auto& [place, mount] : by_place) out.push_back(std::move(mount));
    return out;
}

}  // namespace grua::engine
