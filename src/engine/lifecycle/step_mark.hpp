// A build's step as the next gruad finds it. A step ends with its gruad, since nobody could take its result: what is left of one is ended.
#pragma once

#include "tasks/task.hpp"

#include <string>

namespace grua::engine {

/// Into the step's live folder, before there is anything that outlives this process. Blocks.
void write_step_mark(const std::string& live, const std::string& cgroup_path);

/// Of a step that a gruad before this one was running: ends its processes, by their cgroup, and its monitor; its folder goes last. What it
/// had of its network goes with its network namespace. Blocks.
void end_leftover_step(tasks::Tasks& tasks, const std::string& live);

}  // namespace grua::engine
