// Containers as list and inspect show them.
#pragma once

#include "engine/model/documents.hpp"

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
    static constexpr auto fields() {
        return std::tuple{field("IP", &Port::ip).omitted_when_empty(), field("PrivatePort", &Port::private_port),
                          field("PublicPort", &Port::public_port).omitted_when_empty(), field("Type", &Port::type)};
    }
    bool operator==(const Port&) const = default;
};

struct SummaryHostConfig {
    std::string network_mode;
    engine::StringMap annotations;
    static constexpr auto fields() {
        return std::tuple{field("NetworkMode", &SummaryHostConfig::network_mode).omitted_when_empty(),
                          field("Annotations", &SummaryHostConfig::annotations).added_in(46).omitted_when_empty()};
    }
    bool operator==(const SummaryHostConfig&) const = default;
};

struct SummaryNetworks {
    std::map<std::string, engine::EndpointSettings> networks;
    static constexpr auto fields() { return std::tuple{field("Networks", &SummaryNetworks::networks)}; }
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
    static constexpr auto fields() {
        return std::tuple{field("Id", &ContainerSummary::id),
                          field("Names", &ContainerSummary::names),
                          field("Image", &ContainerSummary::image),
                          field("ImageID", &ContainerSummary::image_id),
                          field("Command", &ContainerSummary::command),
                          field("Created", &ContainerSummary::created),
                          field("Ports", &ContainerSummary::ports),
                          field("SizeRw", &ContainerSummary::size_rw).omitted_when_empty(),
                          field("SizeRootFs", &ContainerSummary::size_root_fs).omitted_when_empty(),
                          field("Labels", &ContainerSummary::labels),
                          field("State", &ContainerSummary::state),
                          field("Status", &ContainerSummary::status),
                          field("HostConfig", &ContainerSummary::host_config),
                          field("NetworkSettings", &ContainerSummary::network_settings),
                          field("Mounts", &ContainerSummary::mounts)};
    }
    bool operator==(const ContainerSummary&) const = default;
};

struct HealthState {
    std::string status;
    std::int64_t failing_streak = 0;
    std::vector<json::Value> log;
    static constexpr auto fields() {
        return std::tuple{field("Status", &HealthState::status), field("FailingStreak", &HealthState::failing_streak),
                          field("Log", &HealthState::log)};
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
    static constexpr auto fields() {
        return std::tuple{field("Status", &ContainerState::status),
                          field("Running", &ContainerState::running),
                          field("Paused", &ContainerState::paused),
                          field("Restarting", &ContainerState::restarting),
                          field("OOMKilled", &ContainerState::oom_killed),
                          field("Dead", &ContainerState::dead),
                          field("Pid", &ContainerState::pid),
                          field("ExitCode", &ContainerState::exit_code),
                          field("Error", &ContainerState::error),
                          field("StartedAt", &ContainerState::started_at),
                          field("FinishedAt", &ContainerState::finished_at),
                          field("Health", &ContainerState::health).omitted_when_empty()};
    }
    bool operator==(const ContainerState&) const = default;
};

struct GraphDriver {
    std::string name = "overlay2";
    std::optional<engine::StringMap> data;
    static constexpr auto fields() { return std::tuple{field("Data", &GraphDriver::data), field("Name", &GraphDriver::name)}; }
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
    static constexpr auto fields() {
        return std::tuple{field("Bridge", &NetworkSettings::bridge),
                          field("SandboxID", &NetworkSettings::sandbox_id),
                          field("SandboxKey", &NetworkSettings::sandbox_key),
                          field("Ports", &NetworkSettings::ports),
                          field("HairpinMode", &NetworkSettings::hairpin_mode),
                          field("LinkLocalIPv6Address", &NetworkSettings::link_local_ipv6_address),
                          field("LinkLocalIPv6PrefixLen", &NetworkSettings::link_local_ipv6_prefix_len),
                          field("SecondaryIPAddresses", &NetworkSettings::secondary_ip_addresses),
                          field("SecondaryIPv6Addresses", &NetworkSettings::secondary_ipv6_addresses),
                          field("EndpointID", &NetworkSettings::endpoint_id),
                          field("Gateway", &NetworkSettings::gateway),
                          field("GlobalIPv6Address", &NetworkSettings::global_ipv6_address),
                          field("GlobalIPv6PrefixLen", &NetworkSettings::global_ipv6_prefix_len),
                          field("IPAddress", &NetworkSettings::ip_address),
                          field("IPPrefixLen", &NetworkSettings::ip_prefix_len),
                          field("IPv6Gateway", &NetworkSettings::ipv6_gateway),
                          field("MacAddress", &NetworkSettings::mac_address),
                          field("Networks", &NetworkSettings::networks)};
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
    static constexpr auto fields() {
        return std::tuple{field("Id", &ContainerInspect::id),
                          field("Created", &ContainerInspect::created),
                          field("Path", &ContainerInspect::path),
                          field("Args", &ContainerInspect::args),
                          field("State", &ContainerInspect::state),
                          field("Image", &ContainerInspect::image),
                          field("ResolvConfPath", &ContainerInspect::resolv_conf_path),
                          field("HostnamePath", &ContainerInspect::hostname_path),
                          field("HostsPath", &ContainerInspect::hosts_path),
                          field("LogPath", &ContainerInspect::log_path),
                          field("Name", &ContainerInspect::name),
                          field("RestartCount", &ContainerInspect::restart_count),
                          field("Driver", &ContainerInspect::driver),
                          field("Platform", &ContainerInspect::platform),
                          field("MountLabel", &ContainerInspect::mount_label),
                          field("ProcessLabel", &ContainerInspect::process_label),
                          field("AppArmorProfile", &ContainerInspect::app_armor_profile),
                          field("ExecIDs", &ContainerInspect::exec_ids),
                          field("HostConfig", &ContainerInspect::host_config),
                          field("GraphDriver", &ContainerInspect::graph_driver),
                          field("SizeRw", &ContainerInspect::size_rw).omitted_when_empty(),
                          field("SizeRootFs", &ContainerInspect::size_root_fs).omitted_when_empty(),
                          field("Mounts", &ContainerInspect::mounts),
                          field("Config", &ContainerInspect::config),
                          field("NetworkSettings", &ContainerInspect::network_settings)};
    }
    bool operator==(const ContainerInspect&) const = default;
};

struct Created {
    std::string id;
    engine::StringList warnings;
    static constexpr auto fields() { return std::tuple{field("Id", &Created::id), field("Warnings", &Created::warnings)}; }
    bool operator==(const Created&) const = default;
};

/// The body of POST /containers/create: the configuration, with two more members beside its own.
struct CreateBody : engine::ContainerConfig {
    engine::HostConfig host_config;
    engine::NetworkingConfig networking_config;
    static constexpr auto fields() {
        return std::tuple_cat(engine::ContainerConfig::fields(), std::tuple{field("HostConfig", &CreateBody::host_config),
                                                                            field("NetworkingConfig", &CreateBody::networking_config)});
    }
    bool operator==(const CreateBody&) const = default;
};

struct Processes {
    engine::StringList titles;
    std::vector<engine::StringList> processes;
    static constexpr auto fields() { return std::tuple{field("Titles", &Processes::titles), field("Processes", &Processes::processes)}; }
    bool operator==(const Processes&) const = default;
};

struct Warnings {
    engine::StringList warnings;
    static constexpr auto fields() { return std::tuple{field("Warnings", &Warnings::warnings)}; }
    bool operator==(const Warnings&) const = default;
};

struct WaitError {
    std::string message;
    static constexpr auto fields() { return std::tuple{field("Message", &WaitError::message)}; }
    bool operator==(const WaitError&) const = default;
};

struct WaitAnswer {
    std::optional<WaitError> error;
    std::int64_t status_code = 0;
    static constexpr auto fields() {
        return std::tuple{field("Error", &WaitAnswer::error).omitted_when_empty(), field("StatusCode", &WaitAnswer::status_code)};
    }
    bool operator==(const WaitAnswer&) const = default;
};

struct Id {
    std::string id;
    static constexpr auto fields() { return std::tuple{field("Id", &Id::id)}; }
    bool operator==(const Id&) const = default;
};

struct ExecStartBody {
    bool detach = false;
    bool tty = false;
    std::optional<std::vector<std::uint32_t>> console_size;
    static constexpr auto fields() {
        return std::tuple{field("Detach", &ExecStartBody::detach), field("Tty", &ExecStartBody::tty),
                          field("ConsoleSize", &ExecStartBody::console_size)};
    }
    bool operator==(const ExecStartBody&) const = default;
};

struct ExecProcess {
    bool tty = false;
    std::string entrypoint;
    engine::StringList arguments;
    bool privileged = false;
    std::string user;
    static constexpr auto fields() {
        return std::tuple{field("tty", &ExecProcess::tty), field("entrypoint", &ExecProcess::entrypoint),
                          field("arguments", &ExecProcess::arguments), field("privileged", &ExecProcess::privileged),
                          field("user", &ExecProcess::user).omitted_when_empty()};
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
    static constexpr auto fields() {
        return std::tuple{field("ID", &ExecInspect::id),
                          field("Running", &ExecInspect::running),
                          field("ExitCode", &ExecInspect::exit_code),
                          field("ProcessConfig", &ExecInspect::process_config),
                          field("OpenStdin", &ExecInspect::open_stdin),
                          field("OpenStderr", &ExecInspect::open_stderr),
                          field("OpenStdout", &ExecInspect::open_stdout),
                          field("CanRemove", &ExecInspect::can_remove),
                          field("ContainerID", &ExecInspect::container_id),
                          field("DetachKeys", &ExecInspect::detach_keys),
                          field("Pid", &ExecInspect::pid)};
    }
    bool operator==(const ExecInspect&) const = default;
};

}  // namespace grua::api::wire
