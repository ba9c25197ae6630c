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
    static constexpr auto fields() { return std::tuple{field("Name", &PlatformName::name)}; }
    bool operator==(const PlatformName&) const = default;
};

struct ComponentVersion {
    std::string name;
    std::string version;
    StringMap details;
    static constexpr auto fields() {
        return std::tuple{field("Name", &ComponentVersion::name), field("Version", &ComponentVersion::version),
                          field("Details", &ComponentVersion::details)};
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
    static constexpr auto fields() {
        return std::tuple{field("Platform", &Version::platform),
                          field("Components", &Version::components),
                          field("Version", &Version::version),
                          field("ApiVersion", &Version::api_version),
                          field("MinAPIVersion", &Version::min_api_version),
                          field("GitCommit", &Version::git_commit),
                          field("GoVersion", &Version::go_version),
                          field("Os", &Version::os),
                          field("Arch", &Version::arch),
                          field("KernelVersion", &Version::kernel_version),
                          field("BuildTime", &Version::build_time).omitted_when_empty()};
    }
    bool operator==(const Version&) const = default;
};

struct PluginNames {
    StringList volume;
    StringList network;
    std::optional<StringList> authorization;
    StringList log;
    static constexpr auto fields() {
        return std::tuple{field("Volume", &PluginNames::volume), field("Network", &PluginNames::network),
                          field("Authorization", &PluginNames::authorization), field("Log", &PluginNames::log)};
    }
    bool operator==(const PluginNames&) const = default;
};

struct Commit {
    std::string id;
    static constexpr auto fields() { return std::tuple{field("ID", &Commit::id)}; }
    bool operator==(const Commit&) const = default;
};

struct RuntimeInfo {
    std::string path;
    static constexpr auto fields() { return std::tuple{field("path", &RuntimeInfo::path)}; }
    bool operator==(const RuntimeInfo&) const = default;
};

struct SwarmInfo {
    std::string node_id;
    std::string node_addr;
    std::string local_node_state = "inactive";
    bool control_available = false;
    std::string error;
    std::optional<StringList> remote_managers;
    static constexpr auto fields() {
        return std::tuple{field("NodeID", &SwarmInfo::node_id),
                          field("NodeAddr", &SwarmInfo::node_addr),
                          field("LocalNodeState", &SwarmInfo::local_node_state),
                          field("ControlAvailable", &SwarmInfo::control_available),
                          field("Error", &SwarmInfo::error),
                          field("RemoteManagers", &SwarmInfo::remote_managers)};
    }
    bool operator==(const SwarmInfo&) const = default;
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
    std::optional<StringMap> registry_config;
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
    std::optional<StringList> warnings;

    static constexpr auto fields() {
        return std::tuple{field("ID", &Info::id),
                          field("Containers", &Info::containers),
                          field("ContainersRunning", &Info::containers_running),
                          field("ContainersPaused", &Info::containers_paused),
                          field("ContainersStopped", &Info::containers_stopped),
                          field("Images", &Info::images),
                          field("Driver", &Info::driver),
                          field("DriverStatus", &Info::driver_status),
                          field("Plugins", &Info::plugins),
                          field("MemoryLimit", &Info::memory_limit),
                          field("SwapLimit", &Info::swap_limit),
                          field("CpuCfsPeriod", &Info::cpu_cfs_period),
                          field("CpuCfsQuota", &Info::cpu_cfs_quota),
                          field("CPUShares", &Info::cpu_shares),
                          field("CPUSet", &Info::cpu_set),
                          field("PidsLimit", &Info::pids_limit),
                          field("IPv4Forwarding", &Info::ipv4_forwarding),
                          field("Debug", &Info::debug),
                          field("NFd", &Info::n_fd),
                          field("OomKillDisable", &Info::oom_kill_disable),
                          field("NGoroutines", &Info::n_goroutines),
                          field("SystemTime", &Info::system_time),
                          field("LoggingDriver", &Info::logging_driver),
                          field("CgroupDriver", &Info::cgroup_driver),
                          field("CgroupVersion", &Info::cgroup_version).added_in(41),
                          field("NEventsListener", &Info::n_events_listener),
                          field("KernelVersion", &Info::kernel_version),
                          field("OperatingSystem", &Info::operating_system),
                          field("OSVersion", &Info::os_version),
                          field("OSType", &Info::os_type),
                          field("Architecture", &Info::architecture),
                          field("IndexServerAddress", &Info::index_server_address),
                          field("RegistryConfig", &Info::registry_config),
                          field("NCPU", &Info::ncpu),
                          field("MemTotal", &Info::mem_total),
                          field("GenericResources", &Info::generic_resources),
                          field("DockerRootDir", &Info::docker_root_dir),
                          field("HttpProxy", &Info::http_proxy),
                          field("HttpsProxy", &Info::https_proxy),
                          field("NoProxy", &Info::no_proxy),
                          field("Name", &Info::name),
                          field("Labels", &Info::labels),
                          field("ExperimentalBuild", &Info::experimental_build),
                          field("ServerVersion", &Info::server_version),
                          field("Runtimes", &Info::runtimes),
                          field("DefaultRuntime", &Info::default_runtime),
                          field("Swarm", &Info::swarm),
                          field("LiveRestoreEnabled", &Info::live_restore_enabled),
                          field("Isolation", &Info::isolation),
                          field("InitBinary", &Info::init_binary),
                          field("ContainerdCommit", &Info::containerd_commit),
                          field("RuncCommit", &Info::runc_commit),
                          field("InitCommit", &Info::init_commit),
                          field("SecurityOptions", &Info::security_options),
                          field("CDISpecDirs", &Info::cdi_spec_dirs).added_in(46),
                          field("Warnings", &Info::warnings)};
    }
    bool operator==(const Info&) const = default;
};

struct EventActor {
    std::string id;
    StringMap attributes;
    static constexpr auto fields() { return std::tuple{field("ID", &EventActor::id), field("Attributes", &EventActor::attributes)}; }
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
    static constexpr auto fields() {
        return std::tuple{field("status", &Event::status).omitted_when_empty(),
                          field("id", &Event::id).omitted_when_empty(),
                          field("from", &Event::from).omitted_when_empty(),
                          field("Type", &Event::type),
                          field("Action", &Event::action),
                          field("Actor", &Event::actor),
                          field("scope", &Event::scope),
                          field("time", &Event::time),
                          field("timeNano", &Event::time_nano)};
    }
    bool operator==(const Event&) const = default;
};

}  // namespace grua::api::wire
