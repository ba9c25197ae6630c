// create, run and exec of the command line.
#pragma once

#include "commands.hpp"
#include "linux/cgroup_stats.hpp"
#include "state.hpp"

#include <boost/json.hpp>

namespace grua::app {

int create(const Context& context, const Options& options);
int run(const Context& context, const Options& options);
int exec(const Context& context, const Options& options);

/// Throws Error(unavailable) where the process still runs after `milliseconds`.
void wait_for_end(int pidfd, int milliseconds);

/// Removes cgroup and folder of a container that has ended, then runs its poststop hooks.
void destroy(const Context& context, const State& state);

boost::json::object describe_stats(const linux::CgroupStats& stats);

}  // namespace grua::app
