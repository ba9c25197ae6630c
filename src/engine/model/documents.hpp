// The documents that say what a container is to be: what a client sends to create one, what inspect gives back, and what
// the store keeps. One form for all three, with the Engine API's own member names, so that nothing is lost between them.
#pragma once

#include "base/codec.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace grua::engine {

using StringList = std::vector<std::string>;
using StringMap = std::map<std::string, std::string>;
using json::field;

/// Test: empty inherits, {"NONE"} switches off, {"CMD", …} or {"CMD-SHELL", text}. Times in nanoseconds, 0 inherits.
struct HealthConfig {
    StringList test;
    std::int64_t interval = 0;
    std::int64_t timeout = 0;
    std::int64_t start_period = 0;
    std::int64_t start_interval = 0;
    std::int64_t retries = 0;

    static constexpr auto fields() {
        return std::tuple{field("Test", &HealthConfig::test).omitted_when_empty(),
                          field("Interval", &HealthConfig::interval).omitted_when_empty(),
                          field("Timeout", &HealthConfig::timeout).omitted_when_empty(),
                          field("StartPeriod", &HealthConfig::start_period).omitted_when_empty(),
                          field("StartInterval", &HealthConfig::start_interval).added_in(44).omitted_when_empty(),
                          field("Retries", &HealthConfig::retries).omitted_when_empty()};
    }
    bool operator==(const HealthConfig&) const = default;
};

/// What travels with the image: the portable part.
struct ContainerConfig {
    std::string hostname;
    std::string domainname;
    std::string user;
    bool attach_stdin = false;
    bool attach_stdout = false;
    bool attach_stderr = false;
    std::map<std::string, json::Value> exposed_ports;  ///< Key: "80/tcp"; value: {}.
    bool tty = false;
    bool open_stdin = false;
    bool stdin_once = false;
    StringList env;
    std::optional<StringList> cmd;
    std::optional<HealthConfig> healthcheck;
    bool args_escaped = false;
    std::string image;                           ///< As the client named it.
    std::map<std::string, json::Value> volumes;  ///< Key: path in the container; value: {}.
    std::string working_dir;
    std::optional<StringList> entrypoint;  ///< {""} in a request empties the image's.
    bool network_disabled = false;
    std::string mac_address;  ///< Before API 1.44.
    StringList on_build;
    StringMap labels;
    std::string stop_signal;
    std::optional<std::int64_t> stop_timeout;  ///< Seconds; -1 waits for ever.
    StringList shell;

    static constexpr auto fields() {
        return std::tuple{field("Hostname", &ContainerConfig::hostname),
                          field("Domainname", &ContainerConfig::domainname),
                          field("User", &ContainerConfig::user),
                          field("AttachStdin", &ContainerConfig::attach_stdin),
                          field("AttachStdout", &ContainerConfig::attach_stdout),
                          field("AttachStderr", &ContainerConfig::attach_stderr),
                          field("ExposedPorts", &ContainerConfig::exposed_ports).omitted_when_empty(),
                          field("Tty", &ContainerConfig::tty),
                          field("OpenStdin", &ContainerConfig::open_stdin),
                          field("StdinOnce", &ContainerConfig::stdin_once),
                          field("Env", &ContainerConfig::env),
                          field("Cmd", &ContainerConfig::cmd),
                          field("Healthcheck", &ContainerConfig::healthcheck).omitted_when_empty(),
                          field("ArgsEscaped", &ContainerConfig::args_escaped).omitted_when_empty(),
                          field("Image", &ContainerConfig::image),
                          field("Volumes", &ContainerConfig::volumes),
                          field("WorkingDir", &ContainerConfig::working_dir),
                          field("Entrypoint", &ContainerConfig::entrypoint),
                          field("NetworkDisabled", &ContainerConfig::network_disabled).omitted_when_empty(),
                          field("MacAddress", &ContainerConfig::mac_address).omitted_when_empty(),
                          field("OnBuild", &ContainerConfig::on_build).omitted_when_empty(),
                          field("Labels", &ContainerConfig::labels),
                          field("StopSignal", &ContainerConfig::stop_signal).omitted_when_empty(),
                          field("StopTimeout", &ContainerConfig::stop_timeout).omitted_when_empty(),
                          field("Shell", &ContainerConfig::shell).omitted_when_empty()};
    }
    bool operator==(const ContainerConfig&) const = default;
};

struct PortBinding {
    std::string host_ip;
    std::string host_port;

    static constexpr auto fields() {
        return std::tuple{field("HostIp", &PortBinding::host_ip), field("HostPort", &PortBinding::host_port)};
    }
    bool operator==(const PortBinding&) const = default;
};

/// Name: "", "no", "always", "unless-stopped", "on-failure".
struct RestartPolicy {
    std::string name;
    std::int64_t maximum_retry_count = 0;

    static constexpr auto fields() {
        return std::tuple{field("Name", &RestartPolicy::name), field("MaximumRetryCount", &RestartPolicy::maximum_retry_count)};
    }
    bool operator==(const RestartPolicy&) const = default;
};

struct LogConfig {
    std::string type;
    StringMap config;

    static constexpr auto fields() { return std::tuple{field("Type", &LogConfig::type), field("Config", &LogConfig::config)}; }
    bool operator==(const LogConfig&) const = default;
};

struct WeightDevice {
    std::string path;
    std::uint16_t weight = 0;

    static constexpr auto fields() { return std::tuple{field("Path", &WeightDevice::path), field("Weight", &WeightDevice::weight)}; }
    bool operator==(const WeightDevice&) const = default;
};

struct ThrottleDevice {
    std::string path;
    std::uint64_t rate = 0;  ///< Bytes or operations each second.

    static constexpr auto fields() { return std::tuple{field("Path", &ThrottleDevice::path), field("Rate", &ThrottleDevice::rate)}; }
    bool operator==(const ThrottleDevice&) const = default;
};

struct DeviceMapping {
    std::string path_on_host;
    std::string path_in_container;
    std::string cgroup_permissions;

    static constexpr auto fields() {
        return std::tuple{field("PathOnHost", &DeviceMapping::path_on_host), field("PathInContainer", &DeviceMapping::path_in_container),
                          field("CgroupPermissions", &DeviceMapping::cgroup_permissions)};
    }
    bool operator==(const DeviceMapping&) const = default;
};

struct DeviceRequest {
    std::string driver;
    std::int64_t count = 0;
    StringList device_ids;
    std::vector<StringList> capabilities;
    StringMap options;

    static constexpr auto fields() {
        return std::tuple{field("Driver", &DeviceRequest::driver), field("Count", &DeviceRequest::count),
                          field("DeviceIDs", &DeviceRequest::device_ids), field("Capabilities", &DeviceRequest::capabilities),
                          field("Options", &DeviceRequest::options)};
    }
    bool operator==(const DeviceRequest&) const = default;
};

struct Ulimit {
    std::string name;
    std::int64_t hard = 0;  ///< -1 is no limit.
    std::int64_t soft = 0;

    static constexpr auto fields() {
        return std::tuple{field("Name", &Ulimit::name), field("Hard", &Ulimit::hard), field("Soft", &Ulimit::soft)};
    }
    bool operator==(const Ulimit&) const = default;
};

/// The limits; those that update may change while the container runs are in the same table.
struct Resources {
    std::int64_t cpu_shares = 0;
    std::int64_t memory = 0;  ///< Bytes; 0 is no limit.
    std::int64_t nano_cpus = 0;
    std::string cgroup_parent;
    std::uint16_t blkio_weight = 0;
    std::vector<WeightDevice> blkio_weight_device;
    std::vector<ThrottleDevice> blkio_device_read_bps;
    std::vector<ThrottleDevice> blkio_device_write_bps;
    std::vector<ThrottleDevice> blkio_device_read_iops;
    std::vector<ThrottleDevice> blkio_device_write_iops;
    std::int64_t cpu_period = 0;  ///< Microseconds.
    std::int64_t cpu_quota = 0;   ///< Microseconds.
    std::int64_t cpu_realtime_period = 0;
    std::int64_t cpu_realtime_runtime = 0;
    std::string cpuset_cpus;
    std::string cpuset_mems;
    std::vector<DeviceMapping> devices;
    StringList device_cgroup_rules;
    std::vector<DeviceRequest> device_requests;
    std::int64_t memory_reservation = 0;
    std::int64_t memory_swap = 0;  ///< Memory and swap together; -1 is no limit.
    std::optional<std::int64_t> memory_swappiness;
    std::optional<bool> oom_kill_disable;
    std::optional<std::int64_t> pids_limit;  ///< 0 and -1 are no limit; null leaves it as it is.
    std::vector<Ulimit> ulimits;
    std::int64_t kernel_memory_tcp = 0;
    std::int64_t cpu_count = 0;
    std::int64_t cpu_percent = 0;
    std::uint64_t io_maximum_iops = 0;
    std::uint64_t io_maximum_bandwidth = 0;
    // grua's own; network/policy.hpp says how they are written.
    std::string net_rate_in;  ///< Of each of its networks, towards it; "10mbit".
    std::string net_rate_out;
    std::string net_burst;
    StringList network_allow;  ///< Who may reach it; none: everybody on its networks.

    static constexpr auto fields() {
        return std::tuple{field("CpuShares", &Resources::cpu_shares),
                          field("Memory", &Resources::memory),
                          field("NanoCpus", &Resources::nano_cpus),
                          field("CgroupParent", &Resources::cgroup_parent),
                          field("BlkioWeight", &Resources::blkio_weight),
                          field("BlkioWeightDevice", &Resources::blkio_weight_device),
                          field("BlkioDeviceReadBps", &Resources::blkio_device_read_bps),
                          field("BlkioDeviceWriteBps", &Resources::blkio_device_write_bps),
                          field("BlkioDeviceReadIOps", &Resources::blkio_device_read_iops),
                          field("BlkioDeviceWriteIOps", &Resources::blkio_device_write_iops),
                          field("CpuPeriod", &Resources::cpu_period),
                          field("CpuQuota", &Resources::cpu_quota),
                          field("CpuRealtimePeriod", &Resources::cpu_realtime_period),
                          field("CpuRealtimeRuntime", &Resources::cpu_realtime_runtime),
                          field("CpusetCpus", &Resources::cpuset_cpus),
                          field("CpusetMems", &Resources::cpuset_mems),
                          field("Devices", &Resources::devices),
                          field("DeviceCgroupRules", &Resources::device_cgroup_rules),
                          field("DeviceRequests", &Resources::device_requests),
                          field("MemoryReservation", &Resources::memory_reservation),
                          field("MemorySwap", &Resources::memory_swap),
                          field("MemorySwappiness", &Resources::memory_swappiness),
                          field("OomKillDisable", &Resources::oom_kill_disable),
                          field("PidsLimit", &Resources::pids_limit),
                          field("Ulimits", &Resources::ulimits),
                          field("KernelMemoryTCP", &Resources::kernel_memory_tcp).omitted_when_empty(),
                          field("CpuCount", &Resources::cpu_count),
                          field("CpuPercent", &Resources::cpu_percent),
                          field("IOMaximumIOps", &Resources::io_maximum_iops),
                          field("IOMaximumBandwidth", &Resources::io_maximum_bandwidth),
                          field("NetRateIn", &Resources::net_rate_in).omitted_when_empty(),
                          field("NetRateOut", &Resources::net_rate_out).omitted_when_empty(),
                          field("NetBurst", &Resources::net_burst).omitted_when_empty(),
                          field("NetworkAllow", &Resources::network_allow).omitted_when_empty()};
    }
    bool operator==(const Resources&) const = default;
};

struct BindOptions {
    std::string propagation;
    bool non_recursive = false;
    bool create_mountpoint = false;
    bool read_only_non_recursive = false;
    bool read_only_force_recursive = false;

    static constexpr auto fields() {
        return std::tuple{field("Propagation", &BindOptions::propagation).omitted_when_empty(),
                          field("NonRecursive", &BindOptions::non_recursive).omitted_when_empty(),
                          field("CreateMountpoint", &BindOptions::create_mountpoint).omitted_when_empty(),
                          field("ReadOnlyNonRecursive", &BindOptions::read_only_non_recursive).omitted_when_empty(),
                          field("ReadOnlyForceRecursive", &BindOptions::read_only_force_recursive).omitted_when_empty()};
    }
    bool operator==(const BindOptions&) const = default;
};

struct DriverConfig {
    std::string name;
    StringMap options;

    static constexpr auto fields() {
        return std::tuple{field("Name", &DriverConfig::name).omitted_when_empty(),
                          field("Options", &DriverConfig::options).omitted_when_empty()};
    }
    bool operator==(const DriverConfig&) const = default;
};

struct VolumeOptions {
    bool no_copy = false;
    StringMap labels;
    std::string subpath;
    std::optional<DriverConfig> driver_config;

    static constexpr auto fields() {
        return std::tuple{field("NoCopy", &VolumeOptions::no_copy).omitted_when_empty(),
                          field("Labels", &VolumeOptions::labels).omitted_when_empty(),
                          field("Subpath", &VolumeOptions::subpath).omitted_when_empty(),
                          field("DriverConfig", &VolumeOptions::driver_config).omitted_when_empty()};
    }
    bool operator==(const VolumeOptions&) const = default;
};

struct TmpfsOptions {
    std::int64_t size_bytes = 0;
    std::uint32_t mode = 0;
    std::vector<StringList> options;

    static constexpr auto fields() {
        return std::tuple{field("SizeBytes", &TmpfsOptions::size_bytes).omitted_when_empty(),
                          field("Mode", &TmpfsOptions::mode).omitted_when_empty(),
                          field("Options", &TmpfsOptions::options).omitted_when_empty()};
    }
    bool operator==(const TmpfsOptions&) const = default;
};

/// Type: "bind", "volume", "tmpfs"; the API's others are refused as not implemented.
struct Mount {
    std::string type;
    std::string source;
    std::string target;
    bool read_only = false;
    std::string consistency;
    std::optional<BindOptions> bind_options;
    std::optional<VolumeOptions> volume_options;
    std::optional<TmpfsOptions> tmpfs_options;

    static constexpr auto fields() {
        return std::tuple{field("Type", &Mount::type),
                          field("Source", &Mount::source).omitted_when_empty(),
                          field("Target", &Mount::target),
                          field("ReadOnly", &Mount::read_only).omitted_when_empty(),
                          field("Consistency", &Mount::consistency).omitted_when_empty(),
                          field("BindOptions", &Mount::bind_options).omitted_when_empty(),
                          field("VolumeOptions", &Mount::volume_options).omitted_when_empty(),
                          field("TmpfsOptions", &Mount::tmpfs_options).omitted_when_empty()};
    }
    bool operator==(const Mount&) const = default;
};

/// What belongs to this host.
struct HostConfig : Resources {
    StringList binds;
    std::string container_id_file;
    LogConfig log_config;
    std::string network_mode;
    std::map<std::string, std::vector<PortBinding>> port_bindings;
    RestartPolicy restart_policy;
    bool auto_remove = false;
    std::string volume_driver;
    StringList volumes_from;
    std::vector<std::uint32_t> console_size;  ///< {height, width}.
    StringMap annotations;
    StringList cap_add;
    StringList cap_drop;
    std::string cgroupns_mode;
    StringList dns;
    StringList dns_options;
    StringList dns_search;
    StringList extra_hosts;
    StringList group_add;
    std::string ipc_mode;
    std::string cgroup;
    std::optional<StringList> links;
    std::int64_t oom_score_adj = 0;
    std::string pid_mode;
    bool privileged = false;
    bool publish_all_ports = false;
    bool readonly_rootfs = false;
    StringList security_opt;
    StringMap storage_opt;
    StringMap tmpfs;  ///< Path to mount options.
    std::string uts_mode;
    std::string userns_mode;
    std::int64_t shm_size = 0;
    StringMap sysctls;
    std::string runtime;
    std::string isolation;
    std::vector<Mount> mounts;
    std::optional<StringList> masked_paths;    ///< Null: Docker's set; empty: none.
    std::optional<StringList> readonly_paths;  ///< Null: Docker's set; empty: none.
    std::optional<bool> init;

    static constexpr auto fields() {
        return std::tuple_cat(
            std::tuple{field("Binds", &HostConfig::binds),
                       field("ContainerIDFile", &HostConfig::container_id_file),
                       field("LogConfig", &HostConfig::log_config),
                       field("NetworkMode", &HostConfig::network_mode),
                       field("PortBindings", &HostConfig::port_bindings),
                       field("RestartPolicy", &HostConfig::restart_policy),
                       field("AutoRemove", &HostConfig::auto_remove),
                       field("VolumeDriver", &HostConfig::volume_driver),
                       field("VolumesFrom", &HostConfig::volumes_from),
                       field("ConsoleSize", &HostConfig::console_size),
                       field("Annotations", &HostConfig::annotations).added_in(43).omitted_when_empty(),
                       field("CapAdd", &HostConfig::cap_add),
                       field("CapDrop", &HostConfig::cap_drop),
                       field("CgroupnsMode", &HostConfig::cgroupns_mode),
                       field("Dns", &HostConfig::dns),
                       field("DnsOptions", &HostConfig::dns_options),
                       field("DnsSearch", &HostConfig::dns_search),
                       field("ExtraHosts", &HostConfig::extra_hosts),
                       field("GroupAdd", &HostConfig::group_add),
                       field("IpcMode", &HostConfig::ipc_mode),
                       field("Cgroup", &HostConfig::cgroup),
                       field("Links", &HostConfig::links),
                       field("OomScoreAdj", &HostConfig::oom_score_adj),
                       field("PidMode", &HostConfig::pid_mode),
                       field("Privileged", &HostConfig::privileged),
                       field("PublishAllPorts", &HostConfig::publish_all_ports),
                       field("ReadonlyRootfs", &HostConfig::readonly_rootfs),
                       field("SecurityOpt", &HostConfig::security_opt),
                       field("StorageOpt", &HostConfig::storage_opt).omitted_when_empty(),
                       field("Tmpfs", &HostConfig::tmpfs).omitted_when_empty(),
                       field("UTSMode", &HostConfig::uts_mode),
                       field("UsernsMode", &HostConfig::userns_mode),
                       field("ShmSize", &HostConfig::shm_size),
                       field("Sysctls", &HostConfig::sysctls).omitted_when_empty(),
                       field("Runtime", &HostConfig::runtime),
                       field("Isolation", &HostConfig::isolation)},
            Resources::fields(),
            std::tuple{field("Mounts", &HostConfig::mounts).omitted_when_empty(), field("MaskedPaths", &HostConfig::masked_paths),
                       field("ReadonlyPaths", &HostConfig::readonly_paths), field("Init", &HostConfig::init).omitted_when_empty()});
    }
    bool operator==(const HostConfig&) const = default;
};

struct EndpointIpamConfig {
    std::string ipv4_address;
    std::string ipv6_address;
    StringList link_local_ips;

    static constexpr auto fields() {
        return std::tuple{field("IPv4Address", &EndpointIpamConfig::ipv4_address).omitted_when_empty(),
                          field("IPv6Address", &EndpointIpamConfig::ipv6_address).omitted_when_empty(),
                          field("LinkLocalIPs", &EndpointIpamConfig::link_local_ips).omitted_when_empty()};
    }
    bool operator==(const EndpointIpamConfig&) const = default;
};

/// A container's place in one network: what was asked, and what it has while it runs.
struct EndpointSettings {
    std::optional<EndpointIpamConfig> ipam_config;
    std::optional<StringList> links;
    std::optional<StringList> aliases;
    std::string mac_address;
    std::optional<StringMap> driver_opts;
    std::int64_t gw_priority = 0;
    std::string network_id;
    std::string endpoint_id;
    std::string gateway;
    std::string ip_address;
    std::int64_t ip_prefix_len = 0;
    std::string ipv6_gateway;
    std::string global_ipv6_address;
    std::int64_t global_ipv6_prefix_len = 0;
    std::optional<StringList> dns_names;

    static constexpr auto fields() {
        return std::tuple{field("IPAMConfig", &EndpointSettings::ipam_config),
                          field("Links", &EndpointSettings::links),
                          field("Aliases", &EndpointSettings::aliases),
                          field("MacAddress", &EndpointSettings::mac_address),
                          field("DriverOpts", &EndpointSettings::driver_opts),
                          field("GwPriority", &EndpointSettings::gw_priority).added_in(48),
                          field("NetworkID", &EndpointSettings::network_id),
                          field("EndpointID", &EndpointSettings::endpoint_id),
                          field("Gateway", &EndpointSettings::gateway),
                          field("IPAddress", &EndpointSettings::ip_address),
                          field("IPPrefixLen", &EndpointSettings::ip_prefix_len),
                          field("IPv6Gateway", &EndpointSettings::ipv6_gateway),
                          field("GlobalIPv6Address", &EndpointSettings::global_ipv6_address),
                          field("GlobalIPv6PrefixLen", &EndpointSettings::global_ipv6_prefix_len),
                          field("DNSNames", &EndpointSettings::dns_names).added_in(44)};
    }
    bool operator==(const EndpointSettings&) const = default;
};

struct NetworkingConfig {
    std::map<std::string, EndpointSettings> endpoints_config;

    static constexpr auto fields() { return std::tuple{field("EndpointsConfig", &NetworkingConfig::endpoints_config)}; }
    bool operator==(const NetworkingConfig&) const = default;
};

/// A mount as inspect shows it, after names and defaults have been filled in.
struct MountPoint {
    std::string type;  ///< "bind", "volume" or "tmpfs".
    std::string name;  ///< The volume's.
    std::string source;
    std::string destination;
    std::string driver;
    std::string mode;
    bool rw = true;
    std::string propagation;

    static constexpr auto fields() {
        return std::tuple{field("Type", &MountPoint::type),
                          field("Name", &MountPoint::name).omitted_when_empty(),
                          field("Source", &MountPoint::source),
                          field("Destination", &MountPoint::destination),
                          field("Driver", &MountPoint::driver).omitted_when_empty(),
                          field("Mode", &MountPoint::mode),
                          field("RW", &MountPoint::rw),
                          field("Propagation", &MountPoint::propagation)};
    }
    bool operator==(const MountPoint&) const = default;
};

/// The body of POST /containers/{id}/update.
struct UpdateConfig : Resources {
    RestartPolicy restart_policy;  ///< Empty name: unchanged.
    // grua's own: published ports change while the container runs.
    std::map<std::string, std::vector<PortBinding>> publish_add;
    std::map<std::string, std::vector<PortBinding>> publish_remove;  ///< Key: "80/tcp"; an empty list is all of that port's.
    std::string publish_from;                                        ///< A container whose published ports become this one's.

    static constexpr auto fields() {
        return std::tuple_cat(
            Resources::fields(),
            std::tuple{field("RestartPolicy", &UpdateConfig::restart_policy), field("PublishAdd", &UpdateConfig::publish_add),
                       field("PublishRemove", &UpdateConfig::publish_remove), field("PublishFrom", &UpdateConfig::publish_from)});
    }
    bool operator==(const UpdateConfig&) const = default;
};

/// The body of POST /containers/{id}/exec.
struct ExecConfig {
    std::string user;
    bool privileged = false;
    bool tty = false;
    std::vector<std::uint32_t> console_size;  ///< {height, width}.
    bool attach_stdin = false;
    bool attach_stdout = false;
    bool attach_stderr = false;
    std::string detach_keys;
    StringList env;
    std::string working_dir;
    StringList cmd;

    static constexpr auto fields() {
        return std::tuple{field("User", &ExecConfig::user),
                          field("Privileged", &ExecConfig::privileged),
                          field("Tty", &ExecConfig::tty),
                          field("ConsoleSize", &ExecConfig::console_size).omitted_when_empty(),
                          field("AttachStdin", &ExecConfig::attach_stdin),
                          field("AttachStdout", &ExecConfig::attach_stdout),
                          field("AttachStderr", &ExecConfig::attach_stderr),
                          field("DetachKeys", &ExecConfig::detach_keys),
                          field("Env", &ExecConfig::env),
                          field("WorkingDir", &ExecConfig::working_dir),
                          field("Cmd", &ExecConfig::cmd)};
    }
    bool operator==(const ExecConfig&) const = default;
};

}  // namespace grua::engine
