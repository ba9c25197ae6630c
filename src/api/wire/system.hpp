// System: version, info, df, prune answers, events.
#pragma once

#include "base/codec.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace grua::api::wire {

using json::field;
using StringList = std::vector<std::string>;
using StringMap = std::map<std::string, std::string>;

struct PlatformName {
    std::string name;
    template <typename Self = PlatformName>
    static json::Fields fields() {
        return json::Fields{field("Name", &Self::name)};
    }
    bool operator==(const PlatformName&) const = default;
};

struct ComponentVersion {
    std::string name;
    std::string version;
    StringMap details;
    template <typename Self = ComponentVersion>
    static json::Fields fields() {
        return json::Fields{field("Name", &Self::name), field("Version", &Self::version), field("Details", &Self::details)};
    }
    bool operator==(const ComponentVersion&) const = default;
};

struct Version {
    PlatformName platform;
    std::vector<ComponentVersion> components;
    std::string version;
    std::string api_version;
    std::string min_api_version;
    std::string git_commit;
    std::string go_version;
    std::string os;
    std::string arch;
    std::string kernel_version;
    std::string build_time;
    template <typename Self = Version>
    static json::Fields fields() {
        return json::Fields{field("Platform", &Self::platform),
                            field("Components", &Self::components),
                            field("Version", &Self::version),
                            field("ApiVersion", &Self::api_version),
                            field("MinAPIVersion", &Self::min_api_version),
                            field("GitCommit", &Self::git_commit),
                            field("GoVersion", &Self::go_version),
                            field("Os", &Self::os),
                            field("Arch", &Self::arch),
                            field("KernelVersion", &Self::kernel_version),
                            field("BuildTime", &Self::build_time).omitted_when_empty()};
    }
    bool operator==(const Version&) const = default;
};

struct PluginNames {
    StringList volume;
    StringList network;
    std::optional<StringList> authorization;
    StringList log;
    template <typename Self = PluginNames>
    static json::Fields fields() {
        return json::Fields{field("Volume", &Self::volume), field("Network", &Self::network), field("Authorization", &Self::authorization),
                            field("Log", &Self::log)};
    }
    bool operator==(const PluginNames&) const = default;
};

struct Commit {
    std::string id;
    std::optional<std::string> expected;  ///< Before API 1.49.
    template <typename Self = Commit>
    static json::Fields fields() {
        return json::Fields{field("ID", &Self::id), field("Expected", &Self::expected).omitted_when_empty()};
    }
    bool operator==(const Commit&) const = default;
};

struct RuntimeInfo {
    std::string path;
    template <typename Self = RuntimeInfo>
    static json::Fields fields() {
        return json::Fields{field("path", &Self::path)};
    }
    bool operator==(const RuntimeInfo&) const = default;
};

struct SwarmInfo {
    std::string node_id;
    std::string node_addr;
    std::string local_node_state = "inactive";
    bool control_available = false;
    std::string error;
    std::optional<StringList> remote_managers;
    template <typename Self = SwarmInfo>
    static json::Fields fields() {
        return json::Fields{field("NodeID", &Self::node_id),
                            field("NodeAddr", &Self::node_addr),
                            field("LocalNodeState", &Self::local_node_state),
                            field("ControlAvailable", &Self::control_available),
                            field("Error", &Self::error),
                            field("RemoteManagers", &Self::remote_managers)};
    }
    bool operator==(const SwarmInfo&) const = default;
};

struct AddressPool {
    std::string base;
    std::int64_t size = 0;
    template <typename Self = AddressPool>
    static json::Fields fields() {
        return json::Fields{field("Base", &Self::base), field("Size", &Self::size)};
    }
    bool operator==(const AddressPool&) const = default;
};

struct FirewallBackend {
    std::string driver = "nftables";
    template <typename Self = FirewallBackend>
    static json::Fields fields() {
        return json::Fields{field("Driver", &Self::driver)};
    }
    bool operator==(const FirewallBackend&) const = default;
};

struct Info {
    std::string id;
    std::int64_t containers = 0;
    std::int64_t containers_running = 0;
    std::int64_t containers_paused = 0;
    std::int64_t containers_stopped = 0;
    std::int64_t images = 0;
    std::string driver = "overlay2";
    std::vector<StringList> driver_status;
    PluginNames plugins;
    bool memory_limit = false;
    bool swap_limit = false;
    bool cpu_cfs_period = false;
    bool cpu_cfs_quota = false;
    bool cpu_shares = false;
    bool cpu_set = false;
    bool pids_limit = false;
    std::optional<bool> kernel_memory;  ///< Before API 1.42.
    std::optional<bool> kernel_memory_tcp;
    std::optional<bool> bridge_nf_iptables;  ///< Before API 1.50, and false: nothing of grua needs it.
    std::optional<bool> bridge_nf_ip6tables;
    bool ipv4_forwarding = false;
    bool debug = false;
    std::int64_t n_fd = 0;
    bool oom_kill_disable = false;
    std::int64_t n_goroutines = 0;  ///< Threads here.
    std::string system_time;
    std::string logging_driver = "json-file";
    std::string cgroup_driver = "cgroupfs";
    std::string cgroup_version;
    std::int64_t n_events_listener = 0;
    std::string kernel_version;
    std::string operating_system;
    std::string os_version;
    std::string os_type = "linux";
    std::string architecture;
    std::string index_server_address = "https://index.docker.io/v1/";
    json::Value registry_config;
    std::int64_t ncpu = 0;
    std::int64_t mem_total = 0;
    std::optional<StringList> generic_resources;
    std::string docker_root_dir;
    std::string http_proxy;
    std::string https_proxy;
    std::string no_proxy;
    std::string name;
    StringList labels;
    bool experimental_build = false;
    std::string server_version;
    std::map<std::string, RuntimeInfo> runtimes;
    std::string default_runtime;
    SwarmInfo swarm;
    bool live_restore_enabled = true;
    std::string isolation;
    std::string init_binary;
    Commit containerd_commit;
    Commit runc_commit;
    Commit init_commit;
    StringList security_options;
    StringList cdi_spec_dirs;
    std::vector<AddressPool> default_address_pools;
    FirewallBackend firewall_backend;
    std::optional<StringList> warnings;

    template <typename Self = Info>
    static json::Fields fields() {
        return json::Fields{field("ID", &Self::id),
                            field("Containers", &Self::containers),
                            field("ContainersRunning", &Self::containers_running),
                            field("ContainersPaused", &Self::containers_paused),
                            field("ContainersStopped", &Self::containers_stopped),
                            field("Images", &Self::images),
                            field("Driver", &Self::driver),
                            field("DriverStatus", &Self::driver_status),
                            field("Plugins", &Self::plugins),
                            field("MemoryLimit", &Self::memory_limit),
                            field("SwapLimit", &Self::swap_limit),
                            field("CpuCfsPeriod", &Self::cpu_cfs_period),
                            field("CpuCfsQuota", &Self::cpu_cfs_quota),
                            field("CPUShares", &Self::cpu_shares),
                            field("CPUSet", &Self::cpu_set),
                            field("PidsLimit", &Self::pids_limit),
                            field("KernelMemory", &Self::kernel_memory).omitted_when_empty(),
                            field("KernelMemoryTCP", &Self::kernel_memory_tcp).omitted_when_empty(),
                            field("BridgeNfIptables", &Self::bridge_nf_iptables).omitted_when_empty(),
                            field("BridgeNfIp6tables", &Self::bridge_nf_ip6tables).omitted_when_empty(),
                            field("IPv4Forwarding", &Self::ipv4_forwarding),
                            field("Debug", &Self::debug),
                            field("NFd", &Self::n_fd),
                            field("OomKillDisable", &Self::oom_kill_disable),
                            field("NGoroutines", &Self::n_goroutines),
                            field("SystemTime", &Self::system_time),
                            field("LoggingDriver", &Self::logging_driver),
                            field("CgroupDriver", &Self::cgroup_driver),
                            field("CgroupVersion", &Self::cgroup_version),
                            field("NEventsListener", &Self::n_events_listener),
                            field("KernelVersion", &Self::kernel_version),
                            field("OperatingSystem", &Self::operating_system),
                            field("OSVersion", &Self::os_version),
                            field("OSType", &Self::os_type),
                            field("Architecture", &Self::architecture),
                            field("IndexServerAddress", &Self::index_server_address),
                            field("RegistryConfig", &Self::registry_config),
                            field("NCPU", &Self::ncpu),
                            field("MemTotal", &Self::mem_total),
                            field("GenericResources", &Self::generic_resources),
                            field("DockerRootDir", &Self::docker_root_dir),
                            field("HttpProxy", &Self::http_proxy),
                            field("HttpsProxy", &Self::https_proxy),
                            field("NoProxy", &Self::no_proxy),
                            field("Name", &Self::name),
                            field("Labels", &Self::labels),
                            field("ExperimentalBuild", &Self::experimental_build),
                            field("ServerVersion", &Self::server_version),
                            field("Runtimes", &Self::runtimes),
                            field("DefaultRuntime", &Self::default_runtime),
                            field("Swarm", &Self::swarm),
                            field("LiveRestoreEnabled", &Self::live_restore_enabled),
                            field("Isolation", &Self::isolation),
                            field("InitBinary", &Self::init_binary),
                            field("ContainerdCommit", &Self::containerd_commit),
                            field("RuncCommit", &Self::runc_commit),
                            field("InitCommit", &Self::init_commit),
                            field("SecurityOptions", &Self::security_options),
                            field("CDISpecDirs", &Self::cdi_spec_dirs).added_in(46),
                            field("DefaultAddressPools", &Self::default_address_pools).omitted_when_empty(),
                            field("FirewallBackend", &Self::firewall_backend).added_in(49),
                            field("Warnings", &Self::warnings)};
    }
    bool operator==(const Info&) const = default;
};

struct EventActor {
    std::string id;
    StringMap attributes;
    template <typename Self = EventActor>
    static json::Fields fields() {
        return json::Fields{field("ID", &Self::id), field("Attributes", &Self::attributes)};
    }
    bool operator==(const EventActor&) const = default;
};

struct Event {
    std::string status;  ///< As in API 1.21, for old clients: of containers and images only.
    std::string id;
    std::string from;
    std::string type;
    std::string action;
    EventActor actor;
    std::string scope = "local";
    std::int64_t time = 0;
    std::int64_t time_nano = 0;
    template <typename Self = Event>
    static json::Fields fields() {
        return json::Fields{field("status", &Self::status).omitted_when_empty(),
                            field("id", &Self::id).omitted_when_empty(),
                            field("from", &Self::from).omitted_when_empty(),
                            field("Type", &Self::type),
                            field("Action", &Self::action),
                            field("Actor", &Self::actor),
                            field("scope", &Self::scope),
                            field("time", &Self::time),
                            field("timeNano", &Self::time_nano)};
    }
    bool operator==(const Event&) const = default;
};

}  // namespace grua::api::wire
