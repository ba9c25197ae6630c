// Resource limits by the names that OCI gives them (config.md#posix-process, rlimits).
#pragma once

#include "oci/runtime_spec.hpp"

#include <sys/types.h>
#include <optional>
#include <string_view>
#include <vector>

namespace grua::runtime {

/// "RLIMIT_NOFILE" -> RLIMIT_NOFILE; nothing for a name that Linux does not have.
std::optional<int> rlimit_number(std::string_view name) noexcept;

/// Sets them for a process that has not executed yet. By its parent, because raising a hard limit needs CAP_SYS_RESOURCE in
/// the initial user namespace, which a child in its own does not have.
void set_rlimits(pid_t pid, const std::vector<oci::Rlimit>& limits);

}  // namespace grua::runtime
