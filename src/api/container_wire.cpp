#include "api/container_wire.hpp"

#include "api/prepared_key.hpp"
#include "base/codec.hpp"
#include "base/id.hpp"
#include "engine/networking/networking.hpp"

namespace grua::api {

namespace {

/// The published ports of a container that runs, and the exposed ones as null.
std::map<std::string, std::optional<std::vector<engine::PortBinding>>> ports_of(const engine::ContainerRecord& record) {
    std::map<std::string, std::optional<std::vector<engine::PortBinding>>> out;
    if (!engine::is_running(record.state.status)) return out;
    for (const auto& [port, unused] : record.config.exposed_ports) out[port];
    for (const auto& [port, bindings] : record.ports) out[port] = bindings;
    return out;
}

std::string quoted_command(const engine::ContainerRecord& record) {
    std::string text = record.path;
    for (const std::string& argument : record.args) {
        text += ' ';
        // As Docker: an argument with a space is shown in quotes.
        text += argument.contains(' ') ? fmt::format("'{}'", argument) : argument;
    }
    return text;
}

wire::ContainerState state_of(const engine::State& state) {
    using engine::Status;
    wire::ContainerState out;
    out.status = to_string(state.status);
    out.running = engine::is_running(state.status) || state.status == Status::restarting;
    out.paused = state.status == Status::paused;
    out.restarting = state.status == Status::restarting;
    out.oom_killed = state.oom_killed;
    out.dead = state.status == Status::dead;
    out.pid = state.pid;
    out.exit_code = state.exit_code;
    out.error = state.error;
    out.started_at = format_time(state.started_at);
    out.finished_at = format_time(state.finished_at);
    if (state.health.status != engine::HealthStatus::none) {
        out.health =
            wire::HealthState{.status = std::string(to_string(state.health.status)), .failing_streak = state.health.failing_streak};
        if (state.health.log) out.health->log = *state.health.log;
    }
    return out;
}

/// What older clients look for, and what has a value in Docker also where nobody gave one.
void show_as_docker(wire::ContainerInspect& out, json::Version version) {
    if (out.host_config.console_size.empty()) out.host_config.console_size = {0, 0};
    if (version >= json::Version{1, 45}) return;
    // Then they began to be among the DNS names only.
    for (auto& [name, endpoint] : out.network_settings.networks) {
        if (!engine::is_user_defined(name)) continue;
        engine::StringList& aliases = endpoint.aliases.emplace(endpoint.aliases.value_or(engine::StringList{}));
        for (const std::string& each : {std::string(short_id(out.id)), out.config.hostname})
            if (std::ranges::find(aliases, each) == aliases.end()) aliases.push_back(each);
    }
}

}  // namespace

wire::ContainerInspect inspect_of(const engine::ContainerRecord& record, json::Version version) {
    wire::ContainerInspect out;
    out.id = record.id;
    out.created = format_time(record.created);
    out.path = record.path;
    out.args = record.args;
    out.state = state_of(record.state);
    out.image = record.image_id;
    out.resolv_conf_path = record.resolv_conf_path;
    out.hostname_path = record.hostname_path;
    out.hosts_path = record.hosts_path;
    // Docker shows where the one log is whose form others read.
    if (record.host_config.log_config.type == "json-file") out.log_path = record.log_path;
    out.name = "/" + record.name;
    out.restart_count = record.restart_count;
    out.platform = record.platform;
    out.app_armor_profile = record.apparmor_profile;
    if (!record.exec_ids.empty()) out.exec_ids = record.exec_ids;
    out.host_config = record.host_config;
    out.mounts = record.mounts;
    out.config = record.config;
    wire::NetworkSettings& network = out.network_settings;
    network.sandbox_id = record.sandbox_id;
    if (record.state.pid > 0 && !record.sandbox_id.empty()) network.sandbox_key = fmt::format("/proc/{}/ns/net", record.state.pid);
    network.ports = ports_of(record);
    network.networks = record.networks;
    if (const auto bridge = record.networks.find("bridge"); bridge != record.networks.end()) {
        network.endpoint_id = bridge->second.endpoint_id;
        network.gateway = bridge->second.gateway;
        network.ip_address = bridge->second.ip_address;
        network.ip_prefix_len = bridge->second.ip_prefix_len;
        network.mac_address = bridge->second.mac_address;
    }
    show_as_docker(out, version);
    return out;
}

wire::ContainerSummary summary_of(const engine::ContainerRecord& record, Time now) {
    wire::ContainerSummary out;
    out.id = record.id;
    out.names = {"/" + record.name};
    out.image = record.config.image;
    out.image_id = record.image_id;
    out.command = quoted_command(record);
    out.created = std::chrono::duration_cast<std::chrono::seconds>(record.created.time_since_epoch()).count();
    for (const auto& [text, bindings] : ports_of(record)) {
        const std::size_t slash = text.find('/');
        const auto number = parse_uint(text.substr(0, slash));
        if (!number || *number > 65535) continue;
        wire::Port port{.private_port = static_cast<std::uint16_t>(*number), .type = slash == text.npos ? "tcp" : text.substr(slash + 1)};
        if (!bindings) out.ports.push_back(port);
        for (const engine::PortBinding& each : bindings.value_or(std::vector<engine::PortBinding>{})) {
            port.ip = each.host_ip;
            port.public_port = static_cast<std::uint16_t>(parse_uint(each.host_port).value_or(0));
            out.ports.push_back(port);
        }
    }
    out.labels = record.config.labels;
    out.state = to_string(record.state.status);
    out.status = engine::status_text(record.state, now);
    out.host_config = {.network_mode = record.host_config.network_mode, .annotations = record.host_config.annotations};
    out.network_settings.networks = record.networks;
    // The list does not tell by what names it is found.
    for (auto& [name, endpoint] : out.network_settings.networks) endpoint.aliases = endpoint.dns_names = std::nullopt;
    out.mounts = record.mounts;
    return out;
}

void append_summary(std::string& out, const engine::ContainerRecord& record, json::Version version, Time now) {
    const auto text = record.prepared.get(key_of(Shape::summary, version), [&] {
        wire::ContainerSummary summary = summary_of(record, Time{});
        summary.status.clear();
        PreparedText made;
        json::append_struct(made.text, summary, version, [&](std::string_view member) {
            if (member == "Status") made.gap = made.text.size();
        });
        made.text.erase(made.gap, 2);  // The empty string: what is said there changes with time.
        return made;
    });
    out.append(text->text, 0, text->gap);
    json::append_string(out, engine::status_text(record.state, now));
    out.append(text->text, text->gap);
}

Prepared::Text inspect_text(const engine::ContainerRecord& record, json::Version version) {
    return record.prepared.get(key_of(Shape::inspect, version),
                               [&] { return PreparedText{.text = json::text_of(inspect_of(record, version), version) + "\n"}; });
}

}  // namespace grua::api
