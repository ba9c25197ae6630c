// Containers as list and inspect show them.
#pragma once

#include "engine/model/record.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace grua::api::wire {

using json::field;

struct Port {
    std::string ip;
    std::uint16_t private_port = 0;
    std::uint16_t public_port = 0;
    std::string type;
    template <typename Self = Port>
    static json::Fields fields() {
        return json::Fields{field("IP", &Self::ip).omitted_when_empty(), field("PrivatePort", &Self::private_port),
                            field("PublicPort", &Self::public_port).omitted_when_empty(), field("Type", &Self::type)};
    }
    bool operator==(const Port&) const = default;
};

struct SummaryHostConfig {
    std::string network_mode;
    engine::StringMap annotations;
    template <typename Self = SummaryHostConfig>
    static json::Fields fields() {
        return json::Fields{field("NetworkMode", &Self::network_mode).omitted_when_empty(),
                            field("Annotations", &Self::annotations).added_in(46).omitted_when_empty()};
    }
    bool operator==(const SummaryHostConfig&) const = default;
};

struct SummaryNetworks {
    std::map<std::string, engine::EndpointSettings> networks;
    template <typename Self = SummaryNetworks>
    static json::Fields fields() {
        return json::Fields{field("Networks", &Self::networks)};
    }
    bool operator==(const SummaryNetworks&) const = default;
};

struct ContainerSummary {
    std::string id;
    std::vector<std::string> names;
    std::string image;
    std::string image_id;
    std::string command;
    std::int64_t created = 0;
    std::vector<Port> ports;
    std::int64_t size_rw = 0;
    std::int64_t size_root_fs = 0;
    engine::StringMap labels;
    std::string state;
    std::string status;
    SummaryHostConfig host_config;
    SummaryNetworks network_settings;
    std::vector<engine::MountPoint> mounts;
    template <typename Self = ContainerSummary>
    static json::Fields fields() {
        return json::Fields{field("Id", &Self::id),
                            field("Names", &Self::names),
                            field("Image", &Self::image),
                            field("ImageID", &Self::image_id),
                            field("Command", &Self::command),
                            field("Created", &Self::created),
                            field("Ports", &Self::ports),
                            field("SizeRw", &Self::size_rw).omitted_when_empty(),
                            field("SizeRootFs", &Self::size_root_fs).omitted_when_empty(),
                            field("Labels", &Self::labels),
                            field("State", &Self::state),
                            field("Status", &Self::status),
                            field("HostConfig", &Self::host_config),
                            field("NetworkSettings", &Self::network_settings),
                            field("Mounts", &Self::mounts)};
    }
    bool operator==(const ContainerSummary&) const = default;
};

struct HealthState {
    std::string status;
    std::int64_t failing_streak = 0;
    std::vector<engine::HealthResult> log;
    template <typename Self = HealthState>
    static json::Fields fields() {
        return json::Fields{field("Status", &Self::status), field("FailingStreak", &Self::failing_streak), field("Log", &Self::log)};
    }
    bool operator==(const HealthState&) const = default;
};

struct ContainerState {
    std::string status;
    bool running = false;
    bool paused = false;
    bool restarting = false;
    bool oom_killed = false;
    bool dead = false;
    std::int64_t pid = 0;
    std::int64_t exit_code = 0;
    std::string error;
    std::string started_at;
    std::string finished_at;
    std::optional<HealthState> health;
    template <typename Self = ContainerState>
    static json::Fields fields() {
        return json::Fields{field("Status", &Self::status),
                            field("Running", &Self::running),
                            field("Paused", &Self::paused),
                            field("Restarting", &Self::restarting),
                            field("OOMKilled", &Self::oom_killed),
                            field("Dead", &Self::dead),
                            field("Pid", &Self::pid),
                            field("ExitCode", &Self::exit_code),
                            field("Error", &Self::error),
                            field("StartedAt", &Self::started_at),
                            field("FinishedAt", &Self::finished_at),
                            field("Health", &Self::health).omitted_when_empty()};
    }
    bool operator==(const ContainerState&) const = default;
};

struct GraphDriver {
    std::string name = "overlay2";
    std::optional<engine::StringMap> data;
    template <typename Self = GraphDriver>
    static json::Fields fields() {
        return json::Fields{field("Data", &Self::data), field("Name", &Self::name)};
    }
    bool operator==(const GraphDriver&) const = default;
};

struct NetworkSettings {
    std::string bridge;
    std::string sandbox_id;
    std::string sandbox_key;
    std::map<std::string, std::optional<std::vector<engine::PortBinding>>> ports;
    bool hairpin_mode = false;
    std::string link_local_ipv6_address;
    std::int64_t link_local_ipv6_prefix_len = 0;
    std::optional<engine::StringList> secondary_ip_addresses;
    std::optional<engine::StringList> secondary_ipv6_addresses;
    std::string endpoint_id;
    std::string gateway;
    std::string global_ipv6_address;
    std::int64_t global_ipv6_prefix_len = 0;
    std::string ip_address;
    std::int64_t ip_prefix_len = 0;
    std::string ipv6_gateway;
    std::string mac_address;
    std::map<std::string, engine::EndpointSettings> networks;
    template <typename Self = NetworkSettings>
    static json::Fields fields() {
        return json::Fields{field("Bridge", &Self::bridge),
                            field("SandboxID", &Self::sandbox_id),
                            field("SandboxKey", &Self::sandbox_key),
                            field("Ports", &Self::ports),
                            field("HairpinMode", &Self::hairpin_mode),
                            field("LinkLocalIPv6Address", &Self::link_local_ipv6_address),
                            field("LinkLocalIPv6PrefixLen", &Self::link_local_ipv6_prefix_len),
                            field("SecondaryIPAddresses", &Self::secondary_ip_addresses),
                            field("SecondaryIPv6Addresses", &Self::secondary_ipv6_addresses),
                            field("EndpointID", &Self::endpoint_id),
                            field("Gateway", &Self::gateway),
                            field("GlobalIPv6Address", &Self::global_ipv6_address),
                            field("GlobalIPv6PrefixLen", &Self::global_ipv6_prefix_len),
                            field("IPAddress", &Self::ip_address),
                            field("IPPrefixLen", &Self::ip_prefix_len),
                            field("IPv6Gateway", &Self::ipv6_gateway),
                            field("MacAddress", &Self::mac_address),
                            field("Networks", &Self::networks)};
    }
    bool operator==(const NetworkSettings&) const = default;
};

struct ContainerInspect {
    std::string id;
    std::string created;
    std::string path;
    engine::StringList args;
    ContainerState state;
    std::string image;
    std::string resolv_conf_path;
    std::string hostname_path;
    std::string hosts_path;
    std::string log_path;
    std::string name;
    std::int64_t restart_count = 0;
    std::string driver = "overlay2";
    std::string platform = "linux";
    std::string mount_label;
    std::string process_label;
    std::string app_armor_profile;
    std::optional<engine::StringList> exec_ids;
    engine::HostConfig host_config;
    GraphDriver graph_driver;
    std::optional<std::int64_t> size_rw;
    std::optional<std::int64_t> size_root_fs;
    std::vector<engine::MountPoint> mounts;
    engine::ContainerConfig config;
    NetworkSettings network_settings;
    template <typename Self = ContainerInspect>
    static json::Fields fields() {
        return json::Fields{field("Id", &Self::id),
                            field("Created", &Self::created),
                            field("Path", &Self::path),
                            field("Args", &Self::args),
                            field("State", &Self::state),
                            field("Image", &Self::image),
                            field("ResolvConfPath", &Self::resolv_conf_path),
                            field("HostnamePath", &Self::hostname_path),
                            field("HostsPath", &Self::hosts_path),
                            field("LogPath", &Self::log_path),
                            field("Name", &Self::name),
                            field("RestartCount", &Self::restart_count),
                            field("Driver", &Self::driver),
                            field("Platform", &Self::platform),
                            field("MountLabel", &Self::mount_label),
                            field("ProcessLabel", &Self::process_label),
                            field("AppArmorProfile", &Self::app_armor_profile),
                            field("ExecIDs", &Self::exec_ids),
                            field("HostConfig", &Self::host_config),
                            field("GraphDriver", &Self::graph_driver),
                            field("SizeRw", &Self::size_rw).omitted_when_empty(),
                            field("SizeRootFs", &Self::size_root_fs).omitted_when_empty(),
                            field("Mounts", &Self::mounts),
                            field("Config", &Self::config),
                            field("NetworkSettings", &Self::network_settings)};
    }
    bool operator==(const ContainerInspect&) const = default;
};

struct Created {
    std::string id;
    engine::StringList warnings;
    template <typename Self = Created>
    static json::Fields fields() {
        return json::Fields{field("Id", &Self::id), field("Warnings", &Self::warnings)};
    }
    bool operator==(const Created&) const = default;
};

/// The body of POST /containers/create: the configuration, with two more members beside its own.
struct CreateBody : engine::ContainerConfig {
    engine::HostConfig host_config;
    engine::NetworkingConfig networking_config;
    template <typename Self = CreateBody>
    static json::Fields fields() {
        return json::joined(engine::ContainerConfig::fields(),
                            json::Fields{field("HostConfig", &Self::host_config), field("NetworkingConfig", &Self::networking_config)});
    }
    bool operator==(const CreateBody&) const = default;
};

struct Processes {
    engine::StringList titles;
    std::vector<engine::StringList> processes;
    template <typename Self = Processes>
    static json::Fields fields() {
        return json::Fields{field("Titles", &Self::titles), field("Processes", &Self::processes)};
    }
    bool operator==(const Processes&) const = default;
};

struct Warnings {
    engine::StringList warnings;
    template <typename Self = Warnings>
    static json::Fields fields() {
        return json::Fields{field("Warnings", &Self::warnings)};
    }
    bool operator==(const Warnings&) const = default;
};

struct WaitError {
    std::string message;
    template <typename Self = WaitError>
    static json::Fields fields() {
        return json::Fields{field("Message", &Self::message)};
    }
    bool operator==(const WaitError&) const = default;
};

struct WaitAnswer {
    std::optional<WaitError> error;
    std::int64_t status_code = 0;
    template <typename Self = WaitAnswer>
    static json::Fields fields() {
        return json::Fields{field("Error", &Self::error).omitted_when_empty(), field("StatusCode", &Self::status_code)};
    }
    bool operator==(const WaitAnswer&) const = default;
};

struct Id {
    std::string id;
    template <typename Self = Id>
    static json::Fields fields() {
        return json::Fields{field("Id", &Self::id)};
    }
    bool operator==(const Id&) const = default;
};

struct ExecStartBody {
    bool detach = false;
    bool tty = false;
    std::optional<std::vector<std::uint32_t>> console_size;
    template <typename Self = ExecStartBody>
    static json::Fields fields() {
        return json::Fields{field("Detach", &Self::detach), field("Tty", &Self::tty), field("ConsoleSize", &Self::console_size)};
    }
    bool operator==(const ExecStartBody&) const = default;
};

struct ExecProcess {
    bool tty = false;
    std::string entrypoint;
    engine::StringList arguments;
    bool privileged = false;
    std::string user;
    template <typename Self = ExecProcess>
    static json::Fields fields() {
        return json::Fields{field("tty", &Self::tty), field("entrypoint", &Self::entrypoint), field("arguments", &Self::arguments),
                            field("privileged", &Self::privileged), field("user", &Self::user).omitted_when_empty()};
    }
    bool operator==(const ExecProcess&) const = default;
};

struct ExecInspect {
    std::string id;
    bool running = false;
    std::optional<std::int64_t> exit_code;
    ExecProcess process_config;
    bool open_stdin = false;
    bool open_stderr = false;
    bool open_stdout = false;
    bool can_remove = false;
    std::string container_id;
    std::string detach_keys;
    std::int64_t pid = 0;
    template <typename Self = ExecInspect>
    static json::Fields fields() {
        return json::Fields{field("ID", &Self::id),
                            field("Running", &Self::running),
                            field("ExitCode", &Self::exit_code),
                            field("ProcessConfig", &Self::process_config),
                            field("OpenStdin", &Self::open_stdin),
                            field("OpenStderr", &Self::open_stderr),
                            field("OpenStdout", &Self::open_stdout),
                            field("CanRemove", &Self::can_remove),
                            field("ContainerID", &Self::container_id),
                            field("DetachKeys", &Self::detach_keys),
                            field("Pid", &Self::pid)};
    }
    bool operator==(const ExecInspect&) const = default;
};

}  // namespace grua::api::wire
