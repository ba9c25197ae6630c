// How a container's status may change while this daemon runs it. Recovery takes what it finds instead (Container::found).
#pragma once

#include "engine/model/record.hpp"

#include <algorithm>
#include <array>

namespace grua::engine {

struct StatusChange {
    Status from;
    Status to;
    friend bool operator==(const StatusChange&, const StatusChange&) = default;
};

inline constexpr std::array<StatusChange, 13> status_changes{{
    {Status::created, Status::running},  // The monitor says that the program runs.
    {Status::restarting, Status::running},
    {Status::exited, Status::running},
    {Status::running, Status::paused},
    {Status::paused, Status::running},
    {Status::running, Status::exited},
    {Status::paused, Status::exited},
    {Status::exited, Status::restarting},  // By the restart policy.
    {Status::restarting, Status::exited},  // Stopped while it waits, or its start has failed.
    {Status::created, Status::removing},   // Removal takes what does not run.
    {Status::restarting, Status::removing},
    {Status::exited, Status::removing},
    {Status::dead, Status::removing},
}};

constexpr bool may_change(Status from, Status to) noexcept {
    return from == to || std::ranges::find(status_changes, StatusChange{from, to}) != status_changes.end();
}

/// Throws Error(conflict) that names both.
void check_change(std::string_view id, Status from, Status to);

}  // namespace grua::engine
