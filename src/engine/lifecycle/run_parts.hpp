// What a run takes and how it is told, the same for a container's start and for a build's step.
#pragma once

#include "engine/lifecycle/lifecycle.hpp"

#include <chrono>
#include <string>

namespace grua::engine {

/// For a monitor to make its container: a bind of a file system on the network may take its time, but an answer comes.
inline constexpr std::chrono::seconds start_patience{120};

/// Joins the networks of `record`: what they give goes into it, their namespace and its resolver into `spec`. Returns the namespace's
/// sysfs, to be held until the program runs. Whoever calls owns what is taken, also where this throws. Blocks.
Fd join_networks(Lifecycle& life, ContainerRecord& record, tasks::TaskSpec& spec);

/// That the program finds: its own, or the host's.
std::string hostname_of(const ContainerRecord& record);

/// What holds for whatever is run here; `record` outlives it. Blocks.
SpecInput spec_input(const Lifecycle& life, const ContainerRecord& record, std::string cgroup_path, std::string hostname);

/// A folder of a run. A monitor whose start was called off may write its last word there meanwhile. Blocks.
void remove_tree(const std::string& path);

}  // namespace grua::engine
