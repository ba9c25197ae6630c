// update: other limits for a container.
#pragma once

#include "commands.hpp"

namespace grua::app {

inline constexpr OptionRule update_options[] = {
    {"resources", 'r'},
    {"memory"},
    {"memory-reservation"},
    {"memory-swap"},
    {"kernel-memory"},
    {"kernel-memory-tcp"},
    {.name = "blkio-weight", .kind = OptionKind::unsigned_integer},
    {.name = "cpu-period", .kind = OptionKind::unsigned_integer},
    {.name = "cpu-quota", .kind = OptionKind::integer},
    {.name = "cpu-burst", .kind = OptionKind::unsigned_integer},
    {.name = "cpu-share", .kind = OptionKind::unsigned_integer},
    {.name = "cpu-rt-period", .kind = OptionKind::unsigned_integer},
    {.name = "cpu-rt-runtime", .kind = OptionKind::integer},
    {.name = "cpu-idle", .kind = OptionKind::integer},
    {"cpuset-cpus"},
    {"cpuset-mems"},
    {.name = "pids-limit", .kind = OptionKind::integer},
    {.name = "l3-cache-schema", .kind = OptionKind::not_implemented},
    {.name = "mem-bw-schema", .kind = OptionKind::not_implemented},
};

int update(const Context& context, const Options& options);

}  // namespace grua::app
