// What is done to a container that exists: start, kill, pause, resume, delete.
#pragma once

#include "commands.hpp"
#include "state.hpp"

namespace grua::app {

int start(const Context& context, const Options& options);
int kill_command(const Context& context, const Options& options);
int delete_command(const Context& context, const Options& options);
int pause(const Context& context, const Options& options);
int resume(const Context& context, const Options& options);

/// Kills what is left of a container, removes its cgroup and folder, then runs its poststop hooks.
void destroy(const Context& context, const State& state);

}  // namespace grua::app
