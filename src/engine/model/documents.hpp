// The documents that say what a container is to be. They have the Engine API's own words, because those are the field's words: what a
// client sends to create one is read into them, and inspect shows them. The store keeps them within a record, in a form of its own that
// has a version (stored_record.hpp); what the API calls a member, and from which version on, may change without that.
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

/// A list or map of which inspect tells whether the client gave an empty one or none: Docker shows null for none.
template <typename Container>
struct OrNull : Container {
    using Plain = Container;
    using Container::Container;
    OrNull(Container given) : Container(std::move(given)), is_null(false) {}
    bool is_null = true;  ///< Of an empty one.
};

}  // namespace grua::engine

template <typename Container>
struct grua::json::detail::Ops<grua::engine::OrNull<Container>> {
    using Full = engine::OrNull<Container>;
    static const Container& plain(const void* value) { return *static_cast<const Full*>(value); }
    static bool is_null(const void* value) { return static_cast<const Full*>(value)->is_null && plain(value).empty(); }

    static void read(const Value& from, void* out, const std::string& path) {
        Full& full = *static_cast<Full*>(out);
        detail::read(from, static_cast<Container&>(full), path);
        full.is_null = false;
    }
    static Value write(const void* in, Version version) { return is_null(in) ? Value(nullptr) : detail::write(plain(in), version); }
    static void append(std::string& out, const void* in, Version version) {
        if (is_null(in)) {
            out += "null";
        } else {
            detail::append(out, plain(in), version);
        }
    }
    static bool is_default(const void* in) { return plain(in).empty(); }
    static bool equals(const void* left, const void* right) { return detail::equals(plain(left), plain(right)); }
    static void each_text(const void* in, const std::string& path, const TextSink& sink) { detail::each_text(plain(in), path, sink); }
};

namespace grua::engine {

/// Test: empty inherits, {"NONE"} switches off, {"CMD", …} or {"CMD-SHELL", text}. Times in nanoseconds, 0 inherits.
struct HealthConfig {
    StringList test;
    std::int64_t interval = 0;
    std::int64_t timeout = 0;
    std::int64_t start_period = 0;
    std::int64_t start_interval = 0;
    std::int64_t retries = 0;
    std::string on_failure;  ///< grua's own: what is done with one that becomes unhealthy: "none", "kill", "restart" or "stop".

    template <typename Self = HealthConfig>
    static json::Fields fields() {
        return json::Fields{field("Test", &Self::test).omitted_when_empty(),
                            field("Interval", &Self::interval).omitted_when_empty(),
                            field("Timeout", &Self::timeout).omitted_when_empty(),
                            field("StartPeriod", &Self::start_period).omitted_when_empty(),
                            field("StartInterval", &Self::start_interval).added_in(44).omitted_when_empty(),
                            field("Retries", &Self::retries).omitted_when_empty(),
                            field("OnFailure", &Self::on_failure).omitted_when_empty()};
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
    std::string image;                                   ///< As the client named it.
    OrNull<std::map<std::string, json::Value>> volumes;  ///< Key: path in the container; value: {}.
    std::string working_dir;
    std::optional<StringList> entrypoint;  ///< {""} in a request empties the image's.
    bool network_disabled = false;
    std::string mac_address;  ///< Before API 1.44.
    OrNull<StringList> on_build;
    StringMap labels;
    std::string stop_signal;
    std::optional<std::int64_t> stop_timeout;  ///< Seconds; -1 waits for ever.
    StringList shell;

    template <typename Self = ContainerConfig>
    static json::Fields fields() {
        return json::Fields{field("Hostname", &Self::hostname),
                            field("Domainname", &Self::domainname),
                            field("User", &Self::user),
                            field("AttachStdin", &Self::attach_stdin),
                            field("AttachStdout", &Self::attach_stdout),
                            field("AttachStderr", &Self::attach_stderr),
                            field("ExposedPorts", &Self::exposed_ports).omitted_when_empty(),
                            field("Tty", &Self::tty),
                            field("OpenStdin", &Self::open_stdin),
                            field("StdinOnce", &Self::stdin_once),
                            field("Env", &Self::env),
                            field("Cmd", &Self::cmd).or_text(),
                            field("Healthcheck", &Self::healthcheck).omitted_when_empty(),
                            field("ArgsEscaped", &Self::args_escaped).omitted_when_empty(),
                            field("Image", &Self::image),
                            field("Volumes", &Self::volumes),
                            field("WorkingDir", &Self::working_dir),
                            field("Entrypoint", &Self::entrypoint).or_text(),
                            field("NetworkDisabled", &Self::network_disabled).omitted_when_empty(),
                            field("MacAddress", &Self::mac_address).omitted_when_empty(),
                            field("OnBuild", &Self::on_build),
                            field("Labels", &Self::labels),
                            field("StopSignal", &Self::stop_signal).omitted_when_empty(),
                            field("StopTimeout", &Self::stop_timeout).omitted_when_empty(),
                            field("Shell", &Self::shell).omitted_when_empty().or_text()};
    }
    bool operator==(const ContainerConfig&) const = default;
};

struct PortBinding {
    std::string host_ip;
    std::string host_port;

    template <typename Self = PortBinding>
    static json::Fields fields() {
        return json::Fields{field("HostIp", &Self::host_ip), field("HostPort", &Self::host_port)};
    }
    bool operator==(const PortBinding&) const = default;
};

/// Name: "", "no", "always", "unless-stopped", "on-failure".
struct RestartPolicy {
    std::string name;
    std::int64_t maximum_retry_count = 0;

    template <typename Self = RestartPolicy>
    static json::Fields fields() {
        return json::Fields{field("Name", &Self::name), field("MaximumRetryCount", &Self::maximum_retry_count)};
    }
    bool operator==(const RestartPolicy&) const = default;
};

struct LogConfig {
    std::string type;
    StringMap config;

    template <typename Self = LogConfig>
    static json::Fields fields() {
        return json::Fields{field("Type", &Self::type), field("Config", &Self::config)};
    }
    bool operator==(const LogConfig&) const = default;
};

struct WeightDevice {
    std::string path;
    std::uint16_t weight = 0;

    template <typename Self = WeightDevice>
    static json::Fields fields() {
        return json::Fields{field("Path", &Self::path), field("Weight", &Self::weight)};
    }
    bool operator==(const WeightDevice&) const = default;
};

struct ThrottleDevice {
    std::string path;
    std::uint64_t rate = 0;  ///< Bytes or operations each second.

    template <typename Self = ThrottleDevice>
    static json::Fields fields() {
        return json::Fields{field("Path", &Self::path), field("Rate", &Self::rate)};
    }
    bool operator==(const ThrottleDevice&) const = default;
};

struct DeviceMapping {
    std::string path_on_host;
    std::string path_in_container;
    std::string cgroup_permissions;

    template <typename Self = DeviceMapping>
    static json::Fields fields() {
        return json::Fields{field("PathOnHost", &Self::path_on_host), field("PathInContainer", &Self::path_in_container),
                            field("CgroupPermissions", &Self::cgroup_permissions)};
    }
    bool operator==(const DeviceMapping&) const = default;
};

struct DeviceRequest {
    std::string driver;
    std::int64_t count = 0;
    StringList device_ids;
    std::vector<StringList> capabilities;
    StringMap options;

    template <typename Self = DeviceRequest>
    static json::Fields fields() {
        return json::Fields{field("Driver", &Self::driver), field("Count", &Self::count), field("DeviceIDs", &Self::device_ids),
                            field("Capabilities", &Self::capabilities), field("Options", &Self::options)};
    }
    bool operator==(const DeviceRequest&) const = default;
};

struct Ulimit {
    std::string name;
    std::int64_t hard = 0;  ///< -1 is no limit.
    std::int64_t soft = 0;

    template <typename Self = Ulimit>
    static json::Fields fields() {
        return json::Fields{field("Name", &Self::name), field("Hard", &Self::hard), field("Soft", &Self::soft)};
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
    OrNull<std::vector<WeightDevice>> blkio_weight_device;
    OrNull<std::vector<ThrottleDevice>> blkio_device_read_bps;
    OrNull<std::vector<ThrottleDevice>> blkio_device_write_bps;
    OrNull<std::vector<ThrottleDevice>> blkio_device_read_iops;
    OrNull<std::vector<ThrottleDevice>> blkio_device_write_iops;
    std::int64_t cpu_period = 0;  ///< Microseconds.
    std::int64_t cpu_quota = 0;   ///< Microseconds.
    std::int64_t cpu_realtime_period = 0;
    std::int64_t cpu_realtime_runtime = 0;
    std::string cpuset_cpus;
    std::string cpuset_mems;
    OrNull<std::vector<DeviceMapping>> devices;
    OrNull<StringList> device_cgroup_rules;
    OrNull<std::vector<DeviceRequest>> device_requests;
    std::int64_t memory_reservation = 0;
    std::int64_t memory_swap = 0;  ///< Memory and swap together; -1 is no limit.
    std::optional<std::int64_t> memory_swappiness;
    std::optional<bool> oom_kill_disable;
    std::optional<std::int64_t> pids_limit;  ///< 0 and -1 are no limit; null leaves it as it is.
    OrNull<std::vector<Ulimit>> ulimits;
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

    template <typename Self = Resources>
    static json::Fields fields() {
        return json::Fields{field("CpuShares", &Self::cpu_shares),
                            field("Memory", &Self::memory),
                            field("NanoCpus", &Self::nano_cpus),
                            field("CgroupParent", &Self::cgroup_parent),
                            field("BlkioWeight", &Self::blkio_weight),
                            field("BlkioWeightDevice", &Self::blkio_weight_device),
                            field("BlkioDeviceReadBps", &Self::blkio_device_read_bps),
                            field("BlkioDeviceWriteBps", &Self::blkio_device_write_bps),
                            field("BlkioDeviceReadIOps", &Self::blkio_device_read_iops),
                            field("BlkioDeviceWriteIOps", &Self::blkio_device_write_iops),
                            field("CpuPeriod", &Self::cpu_period),
                            field("CpuQuota", &Self::cpu_quota),
                            field("CpuRealtimePeriod", &Self::cpu_realtime_period),
                            field("CpuRealtimeRuntime", &Self::cpu_realtime_runtime),
                            field("CpusetCpus", &Self::cpuset_cpus),
                            field("CpusetMems", &Self::cpuset_mems),
                            field("Devices", &Self::devices),
                            field("DeviceCgroupRules", &Self::device_cgroup_rules),
                            field("DeviceRequests", &Self::device_requests),
                            field("MemoryReservation", &Self::memory_reservation),
                            field("MemorySwap", &Self::memory_swap),
                            field("MemorySwappiness", &Self::memory_swappiness),
                            field("OomKillDisable", &Self::oom_kill_disable),
                            field("PidsLimit", &Self::pids_limit),
                            field("Ulimits", &Self::ulimits),
                            field("KernelMemoryTCP", &Self::kernel_memory_tcp).omitted_when_empty(),
                            field("CpuCount", &Self::cpu_count),
                            field("CpuPercent", &Self::cpu_percent),
                            field("IOMaximumIOps", &Self::io_maximum_iops),
                            field("IOMaximumBandwidth", &Self::io_maximum_bandwidth),
                            field("NetRateIn", &Self::net_rate_in).omitted_when_empty(),
                            field("NetRateOut", &Self::net_rate_out).omitted_when_empty(),
                            field("NetBurst", &Self::net_burst).omitted_when_empty(),
                            field("NetworkAllow", &Self::network_allow).omitted_when_empty()};
    }
    bool operator==(const Resources&) const = default;
};

struct BindOptions {
    std::string propagation;
    bool non_recursive = false;
    bool create_mountpoint = false;
    bool read_only_non_recursive = false;
    bool read_only_force_recursive = false;

    template <typename Self = BindOptions>
    static json::Fields fields() {
        return json::Fields{field("Propagation", &Self::propagation).omitted_when_empty(),
                            field("NonRecursive", &Self::non_recursive).omitted_when_empty(),
                            field("CreateMountpoint", &Self::create_mountpoint).omitted_when_empty(),
                            field("ReadOnlyNonRecursive", &Self::read_only_non_recursive).omitted_when_empty(),
                            field("ReadOnlyForceRecursive", &Self::read_only_force_recursive).omitted_when_empty()};
    }
    bool operator==(const BindOptions&) const = default;
};

struct DriverConfig {
    std::string name;
    StringMap options;

    template <typename Self = DriverConfig>
    static json::Fields fields() {
        return json::Fields{field("Name", &Self::name).omitted_when_empty(), field("Options", &Self::options).omitted_when_empty()};
    }
    bool operator==(const DriverConfig&) const = default;
};

struct VolumeOptions {
    bool no_copy = false;
    StringMap labels;
    std::string subpath;
    std::optional<DriverConfig> driver_config;

    template <typename Self = VolumeOptions>
    static json::Fields fields() {
        return json::Fields{field("NoCopy", &Self::no_copy).omitted_when_empty(), field("Labels", &Self::labels).omitted_when_empty(),
                            field("Subpath", &Self::subpath).omitted_when_empty(),
                            field("DriverConfig", &Self::driver_config).omitted_when_empty()};
    }
    bool operator==(const VolumeOptions&) const = default;
};

struct TmpfsOptions {
    std::int64_t size_bytes = 0;
    std::uint32_t mode = 0;
    std::vector<StringList> options;

    template <typename Self = TmpfsOptions>
    static json::Fields fields() {
        return json::Fields{field("SizeBytes", &Self::size_bytes).omitted_when_empty(), field("Mode", &Self::mode).omitted_when_empty(),
                            field("Options", &Self::options).omitted_when_empty()};
    }
    bool operator==(const TmpfsOptions&) const = default;
};

struct ImageOptions {
    std::string subpath;

    template <typename Self = ImageOptions>
    static json::Fields fields() {
        return json::Fields{field("Subpath", &Self::subpath).omitted_when_empty()};
    }
    bool operator==(const ImageOptions&) const = default;
};

/// Type: "bind", "volume", "tmpfs", "image"; the API's others have no meaning here.
struct Mount {
    std::string type;
    std::string source;
    std::string target;
    bool read_only = false;
    std::string consistency;
    std::optional<BindOptions> bind_options;
    std::optional<VolumeOptions> volume_options;
    std::optional<TmpfsOptions> tmpfs_options;
    std::optional<ImageOptions> image_options;

    template <typename Self = Mount>
    static json::Fields fields() {
        return json::Fields{field("Type", &Self::type),
                            field("Source", &Self::source).omitted_when_empty(),
                            field("Target", &Self::target),
                            field("ReadOnly", &Self::read_only).omitted_when_empty(),
                            field("Consistency", &Self::consistency).omitted_when_empty(),
                            field("BindOptions", &Self::bind_options).omitted_when_empty(),
                            field("VolumeOptions", &Self::volume_options).omitted_when_empty(),
                            field("TmpfsOptions", &Self::tmpfs_options).omitted_when_empty(),
                            field("ImageOptions", &Self::image_options).omitted_when_empty()};
    }
    bool operator==(const Mount&) const = default;
};

/// What belongs to this host.
struct HostConfig : Resources {
    OrNull<StringList> binds;
    std::string container_id_file;
    LogConfig log_config;
    std::string network_mode;
    OrNull<std::map<std::string, std::vector<PortBinding>>> port_bindings;
    RestartPolicy restart_policy;
    bool auto_remove = false;
    std::string volume_driver;
    OrNull<StringList> volumes_from;
    std::vector<std::uint32_t> console_size;  ///< {height, width}.
    StringMap annotations;
    OrNull<StringList> cap_add;
    OrNull<StringList> cap_drop;
    std::string cgroupns_mode;
    OrNull<StringList> dns;
    OrNull<StringList> dns_options;
    OrNull<StringList> dns_search;
    OrNull<StringList> extra_hosts;
    OrNull<StringList> group_add;
    std::string ipc_mode;
    std::string cgroup;
    std::optional<StringList> links;
    std::int64_t oom_score_adj = 0;
    std::string pid_mode;
    bool privileged = false;
    bool publish_all_ports = false;
    bool readonly_rootfs = false;
    OrNull<StringList> security_opt;
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

    template <typename Self = HostConfig>
    static json::Fields fields() {
        return json::joined(json::Fields{field("Binds", &Self::binds),
                                         field("ContainerIDFile", &Self::container_id_file),
                                         field("LogConfig", &Self::log_config),
                                         field("NetworkMode", &Self::network_mode),
                                         field("PortBindings", &Self::port_bindings),
                                         field("RestartPolicy", &Self::restart_policy),
                                         field("AutoRemove", &Self::auto_remove),
                                         field("VolumeDriver", &Self::volume_driver),
                                         field("VolumesFrom", &Self::volumes_from),
                                         field("ConsoleSize", &Self::console_size),
                                         field("Annotations", &Self::annotations).added_in(43).omitted_when_empty(),
                                         field("CapAdd", &Self::cap_add).or_text(),
                                         field("CapDrop", &Self::cap_drop).or_text(),
                                         field("CgroupnsMode", &Self::cgroupns_mode),
                                         field("Dns", &Self::dns),
                                         field("DnsOptions", &Self::dns_options),
                                         field("DnsSearch", &Self::dns_search),
                                         field("ExtraHosts", &Self::extra_hosts),
                                         field("GroupAdd", &Self::group_add),
                                         field("IpcMode", &Self::ipc_mode),
                                         field("Cgroup", &Self::cgroup),
                                         field("Links", &Self::links),
                                         field("OomScoreAdj", &Self::oom_score_adj),
                                         field("PidMode", &Self::pid_mode),
                                         field("Privileged", &Self::privileged),
                                         field("PublishAllPorts", &Self::publish_all_ports),
                                         field("ReadonlyRootfs", &Self::readonly_rootfs),
                                         field("SecurityOpt", &Self::security_opt),
                                         field("StorageOpt", &Self::storage_opt).omitted_when_empty(),
                                         field("Tmpfs", &Self::tmpfs).omitted_when_empty(),
                                         field("UTSMode", &Self::uts_mode),
                                         field("UsernsMode", &Self::userns_mode),
                                         field("ShmSize", &Self::shm_size),
                                         field("Sysctls", &Self::sysctls).omitted_when_empty(),
                                         field("Runtime", &Self::runtime),
                                         field("Isolation", &Self::isolation)},
                            Self::Resources::fields(),
                            json::Fields{field("Mounts", &Self::mounts).omitted_when_empty(), field("MaskedPaths", &Self::masked_paths),
                                         field("ReadonlyPaths", &Self::readonly_paths), field("Init", &Self::init).omitted_when_empty()});
    }
    bool operator==(const HostConfig&) const = default;
};

struct EndpointIpamConfig {
    std::string ipv4_address;
    std::string ipv6_address;
    StringList link_local_ips;

    template <typename Self = EndpointIpamConfig>
    static json::Fields fields() {
        return json::Fields{field("IPv4Address", &Self::ipv4_address).omitted_when_empty(),
                            field("IPv6Address", &Self::ipv6_address).omitted_when_empty(),
                            field("LinkLocalIPs", &Self::link_local_ips).omitted_when_empty()};
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

    template <typename Self = EndpointSettings>
    static json::Fields fields() {
        return json::Fields{field("IPAMConfig", &Self::ipam_config),
                            field("Links", &Self::links),
                            field("Aliases", &Self::aliases),
                            field("MacAddress", &Self::mac_address),
                            field("DriverOpts", &Self::driver_opts),
                            field("GwPriority", &Self::gw_priority),
                            field("NetworkID", &Self::network_id),
                            field("EndpointID", &Self::endpoint_id),
                            field("Gateway", &Self::gateway),
                            field("IPAddress", &Self::ip_address),
                            field("IPPrefixLen", &Self::ip_prefix_len),
                            field("IPv6Gateway", &Self::ipv6_gateway),
                            field("GlobalIPv6Address", &Self::global_ipv6_address),
                            field("GlobalIPv6PrefixLen", &Self::global_ipv6_prefix_len),
                            field("DNSNames", &Self::dns_names)};
    }
    bool operator==(const EndpointSettings&) const = default;
};

struct NetworkingConfig {
    std::map<std::string, EndpointSettings> endpoints_config;

    template <typename Self = NetworkingConfig>
    static json::Fields fields() {
        return json::Fields{field("EndpointsConfig", &Self::endpoints_config)};
    }
    bool operator==(const NetworkingConfig&) const = default;
};

/// A mount as inspect shows it, after names and defaults have been filled in.
struct MountPoint {
    std::string type;  ///< "bind", "volume", "tmpfs" or "image"; "given" in a build's step, which nobody inspects.
    std::string name;  ///< The volume's; of an image, as it was asked for.
    std::string source;
    std::string destination;
    std::string driver;
    std::string mode;
    bool rw = true;
    std::string propagation;

    template <typename Self = MountPoint>
    static json::Fields fields() {
        return json::Fields{field("Type", &Self::type),
                            field("Name", &Self::name).omitted_when_empty(),
                            field("Source", &Self::source),
                            field("Destination", &Self::destination),
                            field("Driver", &Self::driver).omitted_when_empty(),
                            field("Mode", &Self::mode),
                            field("RW", &Self::rw),
                            field("Propagation", &Self::propagation)};
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

    template <typename Self = UpdateConfig>
    static json::Fields fields() {
        return json::joined(Self::Resources::fields(),
                            json::Fields{field("RestartPolicy", &Self::restart_policy), field("PublishAdd", &Self::publish_add),
                                         field("PublishRemove", &Self::publish_remove), field("PublishFrom", &Self::publish_from)});
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

    template <typename Self = ExecConfig>
    static json::Fields fields() {
        return json::Fields{field("User", &Self::user),
                            field("Privileged", &Self::privileged),
                            field("Tty", &Self::tty),
                            field("ConsoleSize", &Self::console_size).omitted_when_empty(),
                            field("AttachStdin", &Self::attach_stdin),
                            field("AttachStdout", &Self::attach_stdout),
                            field("AttachStderr", &Self::attach_stderr),
                            field("DetachKeys", &Self::detach_keys),
                            field("Env", &Self::env),
                            field("WorkingDir", &Self::working_dir),
                            field("Cmd", &Self::cmd)};
    }
    bool operator==(const ExecConfig&) const = default;
};

}  // namespace grua::engine
