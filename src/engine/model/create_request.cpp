#include "engine/model/create_request.hpp"

#include "base/size.hpp"
#include "base/text.hpp"
#include "engine/model/capability_set.hpp"
#include "engine/model/health.hpp"
#include "engine/model/restart_policy.hpp"
#include "engine/model/signals.hpp"
#include "engine/networking/networking.hpp"
#include "engine/spec/seccomp_profile.hpp"
#include "linux/cgroup.hpp"
#include "linux/ip_address.hpp"
#include "network/container_files.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <limits>
#include <set>

namespace grua::engine {
namespace {

constexpr std::int64_t smallest_memory = std::int64_t{6} << 20;
constexpr std::int64_t most_cpu_shares = 262144;
constexpr std::int64_t most_pids = std::int64_t{4} << 20;
constexpr std::size_t hostname_limit = 63;
constexpr std::size_t domainname_limit = 64;  // sethostname(2)
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

/// "0-2,4" against how many there are of what the list names.
void check_cpuset(const std::string& text, unsigned count, std::string_view list, std::string_view what) {
    if (text.empty()) return;
    std::int64_t highest = 0;
    for (const auto& range : split(text, ',')) {
        const auto ends = split(range, '-');
        const auto first = parse_uint(ends[0]);
        const auto last = ends.size() == 2 ? parse_uint(ends[1]) : first;
        if (!first || !last || ends.size() > 2 || *first > *last || *last > 8192)
            fail(ErrorKind::invalid_argument, "Invalid value {0} for cpuset {1}: invalid format: {0}", text, list);
        highest = std::max(highest, static_cast<std::int64_t>(*last));
    }
    if (highest >= static_cast<std::int64_t>(count))
        fail(ErrorKind::invalid_argument, "Requested {} are not available - requested {}, available: {}", what, text,
             count == 1 ? "0" : fmt::format("0-{}", count - 1));
}

/// "8000-8010/tcp" of an image or of a client becomes its ports. What is no range is left for who reads ports.
void expand_ranges(std::map<std::string, json::Value>& ports) {
    std::map<std::string, json::Value> out;
    for (const auto& [text, value] : ports) {
        const std::size_t slash = std::min(text.find('/'), text.size());
        const std::string numbers = text.substr(0, slash);
        const std::size_t dash = numbers.find('-');
        const auto first = parse_uint(std::string_view(numbers).substr(0, dash));
        const auto last = dash == std::string::npos ? std::nullopt : parse_uint(std::string_view(numbers).substr(dash + 1));
        if (!first || !last || *first > *last || *last > 65535) {
            out.try_emplace(text, value);
            continue;
        }
        for (std::uint64_t port = *first; port <= *last; ++port) out.try_emplace(fmt::format("{}{}", port, text.substr(slash)), value);
    }
    ports = std::move(out);
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
    if (config.domainname.size() > domainname_limit)
        fail(ErrorKind::invalid_argument, "domainname \"{}\" is too long (maximum {} bytes)", config.domainname, domainname_limit);
    if (!config.mac_address.empty() && !linux::Mac::parse(config.mac_address))
        fail(ErrorKind::invalid_argument, "invalid MAC address: {}", config.mac_address);
    expand_ranges(config.exposed_ports);
    // What the values of these are, nobody looks at; Docker has {}.
    for (auto& [key, value] : config.exposed_ports) value = boost::json::object{};
    for (auto& [key, value] : config.volumes) value = boost::json::object{};
    if (!config.healthcheck) return;
    check_health(*config.healthcheck);
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
    if (!one_of(config.pid_mode, {"host", "private"}) && !is_container_mode(config.pid_mode))
        fail(ErrorKind::invalid_argument, "invalid PID mode: {}", config.pid_mode);
    if (!one_of(config.uts_mode, {"host"})) fail(ErrorKind::invalid_argument, "invalid UTS mode: {}", config.uts_mode);
    if (!one_of(config.cgroupns_mode, {"host", "private"}))
        fail(ErrorKind::invalid_argument, "invalid cgroup namespace mode: {}", config.cgroupns_mode);
    if (!one_of(config.userns_mode, {"host"})) fail(ErrorKind::invalid_argument, "invalid USER mode: {}", config.userns_mode);
    if (!one_of(config.isolation, {"default"}))
        fail(ErrorKind::invalid_argument, "invalid isolation ({}): linux only supports 'default'", config.isolation);
    if (config.network_mode.starts_with("container:") && !is_container_mode(config.network_mode))
        fail(ErrorKind::invalid_argument, "invalid network mode: invalid container format container:<name|id>");
}

/// What cannot both be, in Docker's words.
void check_conflicts(const ContainerConfig& config, const HostConfig& host) {
    const auto refuse = [](bool both, std::string_view what) {
        if (both) fail(ErrorKind::invalid_argument, "conflicting options: {}", what);
    };
    const bool has_links = host.links && !host.links->empty();
    const bool joins = is_container_mode(host.network_mode);
    refuse(joins && !config.hostname.empty(), "hostname and the network mode");
    refuse(joins && has_links, "container type network can't be used with links. This would result in undefined behavior");
    refuse(joins && !host.dns.empty(), "dns and the network mode");
    refuse(joins && !host.extra_hosts.empty(), "custom host-to-IP mapping and the network mode");
    refuse(joins && (!host.port_bindings.empty() || host.publish_all_ports), "port publishing and the container type network mode");
    refuse(joins && !config.exposed_ports.empty(), "port exposing and the container type network mode");
    refuse(host.uts_mode == "host" && !config.hostname.empty(), "hostname and the UTS mode");
    refuse(host.network_mode == "host" && has_links,
           "host type networking can't be used with links. This would result in undefined behavior");
}

/// Names as setrlimit(2) has them.
constexpr auto limit_names = std::to_array<std::string_view>({"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice",
                                                              "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"});

void check_ulimits(const std::vector<Ulimit>& limits) {
    for (const Ulimit& each : limits) {
        if (std::ranges::find(limit_names, to_lower(each.name)) == limit_names.end())
            fail(ErrorKind::invalid_argument, "invalid ulimit type: {}", each.name);
        if (each.soft < -1 || each.hard < -1)
            fail(ErrorKind::invalid_argument, "invalid ulimit {}: {} is neither a limit nor -1", each.name, std::min(each.soft, each.hard));
        if (each.hard != -1 && (each.soft == -1 || each.soft > each.hard))
            fail(ErrorKind::invalid_argument, "ulimit {}: soft limit must be less than or equal to hard limit: {} > {}", each.name,
                 each.soft, each.hard);
    }
}

void check_block_devices(const Resources& limits) {
    const auto check_path = [](const std::string& path) {
        if (!path.starts_with("/dev/")) fail(ErrorKind::invalid_argument, "invalid device path: \"{}\"", path);
    };
    for (const WeightDevice& each : limits.blkio_weight_device) {
        check_path(each.path);
        if (each.weight != 0 && (each.weight < 10 || each.weight > 1000))
            fail(ErrorKind::invalid_argument, "{}: range of blkio weight is from 10 to 1000", each.path);
    }
    for (const auto* list :
         {&limits.blkio_device_read_bps, &limits.blkio_device_write_bps, &limits.blkio_device_read_iops, &limits.blkio_device_write_iops})
        for (const ThrottleDevice& each : *list) check_path(each.path);
}

/// A profile that cannot be used is told now, and not at each start.
void check_profile(const HostConfig& config, const HostFacts& host) {
    const SecurityOptions options = parse_security_options(config);
    if (!options.apparmor_profile.empty() && options.apparmor_profile != "unconfined" && !host.apparmor)
        fail(ErrorKind::invalid_argument, "invalid --security-opt apparmor={}: this kernel has no AppArmor", options.apparmor_profile);
    if (!options.labels.empty() && !host.selinux)
        fail(ErrorKind::invalid_argument, "invalid --security-opt label={}: this kernel has no SELinux", options.labels.front());
    if (!options.labels.empty()) fail(ErrorKind::not_implemented, "not implemented: security-opt label={}", options.labels.front());
    if (options.seccomp_profile.empty()) return;
    const SeccompSubject subject{.machine = host.machine, .kernel = host.kernel, .capabilities = {}};
    while_doing("HostConfig.SecurityOpt: seccomp", [&] { custom_seccomp(options.seccomp_profile, subject); });
}

void check_storage(const HostConfig& host) {
    for (const auto& [key, value] : host.storage_opt) {
        if (key != "size") fail(ErrorKind::invalid_argument, "unknown option {}", key);
        if (!parse_size(value, SizeUnit::of_1024)) fail(ErrorKind::invalid_argument, "invalid size: '{}'", value);
    }
}

/// As Docker has it: "..", also more of them than there are folders, leads to the root at most.
void check_cgroup_parent(HostConfig& host) {
    if (host.cgroup_parent.empty()) return;
    linux::CgroupPath::parse(clean_cgroup_parent(host.cgroup_parent) + "/x");
}

void check_not_built(const HostConfig& host) {
    const auto refuse = [](bool asked, const char* what) {
        if (asked) fail(ErrorKind::not_implemented, "not implemented: {}", what);
    };
    refuse(!host.device_requests.empty(), "device requests");
    refuse(!host.cgroup.empty(), "Cgroup: a container in another one's cgroup");
    // None but grua's own can be configured so far, which answers to these names.
    if (!host.runtime.empty() && host.runtime != "grua" && host.runtime != "runc" && host.runtime != "io.containerd.runc.v2")
        fail(ErrorKind::invalid_argument, "unknown or invalid runtime name: {}", host.runtime);
}

}  // namespace

void merge_image(ContainerConfig& config, const oci::ImageRunConfig& image) {
    if (config.user.empty()) config.user = image.user;
    for (const auto& [port, value] : image.exposed_ports) config.exposed_ports.try_emplace(port, value);
    expand_ranges(config.exposed_ports);
    config.env = inherit_env(std::move(config.env), image.env);
    for (const auto& [key, value] : image.labels) config.labels.try_emplace(key, value);
    const bool has_command = config.cmd && !config.cmd->empty();
    if (!config.entrypoint || config.entrypoint->empty()) {
        if (!has_command) config.cmd = image.cmd;
        if (!config.entrypoint) config.entrypoint = image.entrypoint;
    }
    if (config.entrypoint && config.entrypoint->size() == 1 && config.entrypoint->front().empty()) config.entrypoint.reset();
    if (config.working_dir.empty()) config.working_dir = image.working_dir;
    for (const auto& [path, value] : image.volumes) config.volumes.try_emplace(path, value);
    if (config.volumes.empty()) config.volumes.is_null = true;  // As if nobody had said anything.
    if (config.stop_signal.empty()) config.stop_signal = image.stop_signal;
    if (!config.stop_timeout) config.stop_timeout = image.stop_timeout;
    if (config.shell.empty()) config.shell = image.shell;
    merge_health(config.healthcheck, image.healthcheck);
    if (command_of(config).empty()) fail(ErrorKind::invalid_argument, "no command specified");
}

void check_volume_driver(const std::string& driver) {
    // Not `not_found`: of that clients think that the image is what is missing, and pull it.
    if (!driver.empty() && driver != "local")
        fail(ErrorKind::invalid_argument, "error looking up volume plugin {0}: plugin \"{0}\" not found", driver);
}

std::optional<std::uint64_t> root_size(const HostConfig& host) {
    const auto found = host.storage_opt.find("size");
    const auto size = found == host.storage_opt.end() ? std::nullopt : parse_size(found->second, SizeUnit::of_1024);
    return size ? std::optional(static_cast<std::uint64_t>(*size)) : std::nullopt;
}

std::string clean_cgroup_parent(std::string_view parent) {
    std::string out = (std::filesystem::path("/") / std::string(parent)).lexically_normal().string();
    while (out.ends_with('/')) out.pop_back();
    return out;
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
    const auto check_sign = [](std::int64_t value, std::int64_t least, const char* field) {
        if (value < least) fail(ErrorKind::invalid_argument, "{}: {} is less than {}", field, value, least);
    };
    check_sign(limits.memory_swap, -1, "MemorySwap");
    check_sign(limits.memory_reservation, 0, "MemoryReservation");
    check_sign(limits.cpu_shares, 0, "CpuShares");
    check_sign(limits.cpu_quota, -1, "CpuQuota");
    check_sign(limits.cpu_realtime_period, 0, "CpuRealtimePeriod");
    check_sign(limits.cpu_realtime_runtime, -1, "CpuRealtimeRuntime");
    check_sign(limits.kernel_memory_tcp, 0, "KernelMemoryTCP");
    check_sign(limits.pids_limit.value_or(0), -1, "PidsLimit");
    // The kernel's own bounds, which it would say at each start.
    const auto check_most = [](std::int64_t value, std::int64_t most, const char* field) {
        if (value > most) fail(ErrorKind::invalid_argument, "{}: {} is more than {}", field, value, most);
    };
    check_most(limits.cpu_shares, most_cpu_shares, "CpuShares");
    check_most(limits.pids_limit.value_or(0), most_pids, "PidsLimit");
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
    check_cpuset(limits.cpuset_cpus, host.cpus, "cpus", "CPUs");
    check_cpuset(limits.cpuset_mems, host.memory_nodes, "mems", "memory nodes");
    if (limits.cpu_percent > 0) {
        warnings.emplace_back("linux does not support CPU percent. Percent discarded.");
        limits.cpu_percent = 0;
    }
    if (limits.blkio_weight > 0 && (limits.blkio_weight < 10 || limits.blkio_weight > 1000))
        refuse("Range of blkio weight is from 10 to 1000");
    if (limits.io_maximum_bandwidth != 0 || limits.io_maximum_iops != 0)
        refuse("Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps");
    for (const auto& rule : limits.device_cgroup_rules) parse_device_rule(rule);
    return warnings;
}

namespace {

/// What is hidden from it, as inspect shows it.
void show_system_paths(HostConfig& config, const HostFacts& host) {
    if (config.privileged || parse_security_options(config).system_paths_unconfined) return;
    if (!config.masked_paths) config.masked_paths = default_masked_paths(host);
    if (!config.readonly_paths) config.readonly_paths = default_readonly_paths();
}

}  // namespace

StringList check_request(ContainerConfig& config, HostConfig& host_config, const HostFacts& host) {
    check_config(config);
    check_conflicts(config, host_config);
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
    check_profile(host_config, host);
    check_not_built(host_config);
    check_storage(host_config);
    check_cgroup_parent(host_config);
    check_ulimits(host_config.ulimits);
    check_block_devices(host_config);
    for (const std::string& each : host_config.extra_hosts) network::check_extra_host(each);
    take_labels(config.labels, host_config);
    check_networking(config, host_config);
    if (host_config.network_mode == "host" && !host_config.port_bindings.empty())
        warnings.emplace_back("Published ports are discarded when using host network mode");

    if (host_config.network_mode.empty() || host_config.network_mode == "default") host_config.network_mode = "bridge";
    show_system_paths(host_config, host);
    if (host_config.pids_limit.value_or(0) <= 0) host_config.pids_limit.reset();
    if (!host_config.oom_kill_disable && !host.cgroup_v2) host_config.oom_kill_disable = false;
    if (host_config.memory > 0 && host_config.memory_swap == 0) {
        // Twice a limit that is next to none is none.
        const bool fits = host_config.memory <= std::numeric_limits<std::int64_t>::max() / 2;
        host_config.memory_swap = fits ? host_config.memory * 2 : -1;
    }
    if (host_config.log_config.type.empty()) host_config.log_config.type = "json-file";
    if (host_config.ipc_mode.empty()) host_config.ipc_mode = "private";
    if (host_config.cgroupns_mode.empty()) host_config.cgroupns_mode = host.cgroup_v2 ? "private" : "host";
    if (host_config.runtime.empty()) host_config.runtime = "runc";
    if (host_config.restart_policy.name.empty()) host_config.restart_policy.name = "no";
    return warnings;
}

}  // namespace grua::engine
