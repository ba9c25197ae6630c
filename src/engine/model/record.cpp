#include "engine/model/record.hpp"

#include <array>
#include <chrono>

namespace grua::engine {
namespace {

constexpr std::array<std::pair<Status, std::string_view>, 7> names{{{Status::created, "created"},
                                                                    {Status::running, "running"},
                                                                    {Status::paused, "paused"},
                                                                    {Status::restarting, "restarting"},
                                                                    {Status::exited, "exited"},
                                                                    {Status::removing, "removing"},
                                                                    {Status::dead, "dead"}}};

/// The stored form. A member that a newer grua adds is ignored by an older one.
struct Stored {
    std::string id, name, created, image_id, image_manifest, platform, path;
    StringList args;
    ContainerConfig config;
    HostConfig host_config;
    std::map<std::string, EndpointSettings> networks;
    StringMap desired_macs;
    StringMap links;
    StringMap interfaces;
    std::map<std::string, std::vector<PortBinding>> ports;
    std::string sandbox_id;
    std::vector<MountPoint> mounts;
    StringList anonymous_volumes;
    std::string status, error, started_at, finished_at;
    std::int64_t pid = 0, exit_code = 0, restart_count = 0;
    bool oom_killed = false, stopped_by_user = false;
    StringList chain;
    std::string log_path, hostname_path, hosts_path, resolv_conf_path;

    template <typename Self = Stored>
    static constexpr auto fields() {
        return std::tuple{field("id", &Self::id),
                          field("name", &Self::name),
                          field("created", &Self::created),
                          field("image_id", &Self::image_id),
                          field("image_manifest", &Self::image_manifest),
                          field("platform", &Self::platform),
                          field("path", &Self::path),
                          field("args", &Self::args),
                          field("config", &Self::config),
                          field("host_config", &Self::host_config),
                          field("networks", &Self::networks),
                          field("desired_macs", &Self::desired_macs),
                          field("links", &Self::links).omitted_when_empty(),
                          field("interfaces", &Self::interfaces),
                          field("ports", &Self::ports),
                          field("sandbox_id", &Self::sandbox_id),
                          field("mounts", &Self::mounts),
                          field("anonymous_volumes", &Self::anonymous_volumes),
                          field("status", &Self::status),
                          field("error", &Self::error),
                          field("started_at", &Self::started_at),
                          field("finished_at", &Self::finished_at),
                          field("pid", &Self::pid),
                          field("exit_code", &Self::exit_code),
                          field("restart_count", &Self::restart_count),
                          field("oom_killed", &Self::oom_killed),
                          field("stopped_by_user", &Self::stopped_by_user),
                          field("chain", &Self::chain),
                          field("log_path", &Self::log_path),
                          field("hostname_path", &Self::hostname_path),
                          field("hosts_path", &Self::hosts_path),
                          field("resolv_conf_path", &Self::resolv_conf_path)};
    }
};

Time time_of(const std::string& text) { return parse_time(text).value_or(Time{}); }

std::string span_text(std::chrono::nanoseconds span) {
    using namespace std::chrono;
    const auto seconds = duration_cast<std::chrono::seconds>(span).count();
    if (seconds < 1) return "Less than a second";
    if (seconds == 1) return "1 second";
    if (seconds < 60) return fmt::format("{} seconds", seconds);
    const auto minutes = seconds / 60;
    if (minutes == 1) return "About a minute";
    if (minutes < 60) return fmt::format("{} minutes", minutes);
    const auto hours = (seconds + 1800) / 3600;
    if (hours == 1) return "About an hour";
    if (hours < 48) return fmt::format("{} hours", hours);
    if (hours < 24 * 7 * 2) return fmt::format("{} days", hours / 24);
    if (hours < 24 * 30 * 2) return fmt::format("{} weeks", hours / 24 / 7);
    if (hours < 24 * 365 * 2) return fmt::format("{} months", hours / 24 / 30);
    return fmt::format("{} years", hours / 24 / 365);
}

}  // namespace

std::string_view to_string(Status status) noexcept {
    for (const auto& [value, name] : names)
        if (value == status) return name;
    return "dead";
}

std::optional<Status> parse_status(std::string_view text) noexcept {
    for (const auto& [value, name] : names)
        if (name == text) return value;
    return std::nullopt;
}

std::string_view to_string(Health health) noexcept {
    switch (health) {
        case Health::none:
            return "none";
        case Health::starting:
            return "starting";
        case Health::healthy:
            return "healthy";
        case Health::unhealthy:
            return "unhealthy";
    }
    return "none";
}

std::string to_json(const ContainerRecord& record) {
    Stored stored;
    stored.id = record.id;
    stored.name = record.name;
    stored.created = format_time(record.created);
    stored.image_id = record.image_id;
    stored.image_manifest = record.image_manifest;
    stored.platform = record.platform;
    stored.path = record.path;
    stored.args = record.args;
    stored.config = record.config;
    stored.host_config = record.host_config;
    stored.networks = record.networks;
    stored.desired_macs = record.desired_macs;
    stored.links = record.links;
    stored.interfaces = record.interfaces;
    stored.ports = record.ports;
    stored.sandbox_id = record.sandbox_id;
    stored.mounts = record.mounts;
    stored.anonymous_volumes = record.anonymous_volumes;
    stored.status = to_string(record.state.status);
    stored.error = record.state.error;
    stored.started_at = format_time(record.state.started_at);
    stored.finished_at = format_time(record.state.finished_at);
    stored.pid = record.state.pid;
    stored.exit_code = record.state.exit_code;
    stored.restart_count = record.restart_count;
    stored.oom_killed = record.state.oom_killed;
    stored.stopped_by_user = record.stopped_by_user;
    stored.chain = record.chain;
    stored.log_path = record.log_path;
    stored.hostname_path = record.hostname_path;
    stored.hosts_path = record.hosts_path;
    stored.resolv_conf_path = record.resolv_conf_path;
    return json::dump(stored, {1, 999});
}

ContainerRecord record_from_json(std::string_view text) {
    Stored stored = json::parse<Stored>(text);
    ContainerRecord record;
    record.id = std::move(stored.id);
    record.name = std::move(stored.name);
    record.created = time_of(stored.created);
    record.image_id = std::move(stored.image_id);
    record.image_manifest = std::move(stored.image_manifest);
    record.platform = std::move(stored.platform);
    record.path = std::move(stored.path);
    record.args = std::move(stored.args);
    record.config = std::move(stored.config);
    record.host_config = std::move(stored.host_config);
    record.networks = std::move(stored.networks);
    record.desired_macs = std::move(stored.desired_macs);
    record.links = std::move(stored.links);
    record.interfaces = std::move(stored.interfaces);
    record.ports = std::move(stored.ports);
    record.sandbox_id = std::move(stored.sandbox_id);
    record.mounts = std::move(stored.mounts);
    record.anonymous_volumes = std::move(stored.anonymous_volumes);
    const auto status = parse_status(stored.status);
    if (!status) fail(ErrorKind::invalid_argument, "container {}: unknown status \"{}\"", record.id, stored.status);
    record.state.status = *status;
    record.state.error = std::move(stored.error);
    record.state.started_at = time_of(stored.started_at);
    record.state.finished_at = time_of(stored.finished_at);
    record.state.pid = static_cast<pid_t>(stored.pid);
    record.state.exit_code = static_cast<int>(stored.exit_code);
    record.state.oom_killed = stored.oom_killed;
    record.restart_count = static_cast<int>(stored.restart_count);
    record.stopped_by_user = stored.stopped_by_user;
    record.chain = std::move(stored.chain);
    record.log_path = std::move(stored.log_path);
    record.hostname_path = std::move(stored.hostname_path);
    record.hosts_path = std::move(stored.hosts_path);
    record.resolv_conf_path = std::move(stored.resolv_conf_path);
    return record;
}

std::string status_text(const State& state, Time now) {
    switch (state.status) {
        case Status::running:
            return "Up " + span_text(now - state.started_at);
        case Status::paused:
            return fmt::format("Up {} (Paused)", span_text(now - state.started_at));
        case Status::restarting:
            return fmt::format("Restarting ({}) {} ago", state.exit_code, span_text(now - state.finished_at));
        case Status::removing:
            return "Removal In Progress";
        case Status::dead:
            return "Dead";
        case Status::created:
            return "Created";
        case Status::exited:
            break;
    }
    return state.finished_at == Time{} ? "" : fmt::format("Exited ({}) {} ago", state.exit_code, span_text(now - state.finished_at));
}

}  // namespace grua::engine
