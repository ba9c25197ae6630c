// OCI hooks: a program with the container's state on its standard input, and a time limit (config.md#posix-platform-hooks).
#pragma once

#include "linux/seccomp.hpp"
#include "oci/runtime_spec.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace grua::runtime {

struct HookSurroundings {
    const std::vector<std::string>* environment = nullptr;  ///< Of a hook that names none of its own.
    const linux::SeccompProgram* filter = nullptr;          ///< Loaded by the hook's process just before it executes.
};

/// Runs one point's hooks. Throws at the first that fails, with what it wrote.
void run_hooks(const std::vector<oci::Hook>& hooks, std::string_view state_json, std::string_view point,
               const HookSurroundings& surroundings);

}  // namespace grua::runtime
