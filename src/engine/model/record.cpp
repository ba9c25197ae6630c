#include "engine/model/record.hpp"

#include <algorithm>
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

constexpr std::array<std::pair<HealthStatus, std::string_view>, 4> health_names{{{HealthStatus::none, "none"},
                                                                                 {HealthStatus::starting, "starting"},
                                                                                 {HealthStatus::healthy, "healthy"},
                                                                                 {HealthStatus::unhealthy, "unhealthy"}}};

std::string_view health_suffix(HealthStatus status) noexcept {
    switch (status) {
        case HealthStatus::starting:
            return " (health: starting)";
        case HealthStatus::healthy:
            return " (healthy)";
        case HealthStatus::unhealthy:
            return " (unhealthy)";
        case HealthStatus::none:
            break;
    }
    return "";
}

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

std::string_view to_string(HealthStatus status) noexcept {
    for (const auto& [value, name] : health_names)
        if (value == status) return name;
    return "none";
}

std::optional<HealthStatus> parse_health(std::string_view text) noexcept {
    for (const auto& [value, name] : health_names)
        if (name == text) return value;
    return std::nullopt;
}

MountDetail detail_of(const ContainerRecord& record, const std::string& destination) {
    if (const auto found = record.mount_details.find(destination); found != record.mount_details.end()) return found->second;
    const auto asked = std::ranges::find(record.host_config.mounts, destination, &Mount::target);
    MountDetail out;
    if (asked == record.host_config.mounts.end()) return out;
    out.bind = asked->bind_options;
    out.tmpfs = asked->tmpfs_options;
    return out;
}

bool has_mounted(const ContainerRecord& record, std::string_view image_id) {
    return std::ranges::any_of(record.mount_details, [&](const auto& each) { return each.second.image_id == image_id; });
}

StringList volume_names(const ContainerRecord& record) {
    StringList out;
    for (const MountPoint& point : record.mounts)
        if (point.type == "volume" && std::ranges::count(out, point.name) == 0) out.push_back(point.name);
    return out;
}

std::string status_text(const State& state, Time now) {
    switch (state.status) {
        case Status::running:
            return fmt::format("Up {}{}", span_text(now - state.started_at), health_suffix(state.health.status));
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
