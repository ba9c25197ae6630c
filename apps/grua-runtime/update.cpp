#include "update.hpp"

#include "base/files.hpp"
#include "base/units.hpp"
#include "runtime/convert.hpp"
#include "state.hpp"

#include <limits>

namespace grua::app {
namespace {

std::optional<std::int64_t> size(const Options& options, std::string_view name) {
    if (!options.given(name)) return std::nullopt;
    return while_doing(fmt::format("invalid value for --{}", name), [&] { return parse_size(options.text(name)); });
}

oci::Resources wanted_by(const Options& options) {
    oci::Resources wanted;
    if (options.given("resources")) {
        const std::string path = options.text("resources");
        wanted = json::parse<oci::Resources>(path == "-" ? read_all(0, "standard input") : read_file(path));
    }
    oci::MemoryLimits memory = wanted.memory.value_or(oci::MemoryLimits{});
    oci::CpuLimits cpu = wanted.cpu.value_or(oci::CpuLimits{});
    if (const auto value = size(options, "memory")) memory.limit = value;
    if (const auto value = size(options, "memory-reservation")) memory.reservation = value;
    if (const auto value = size(options, "memory-swap")) memory.swap = value;
    if (const auto value = size(options, "kernel-memory")) memory.kernel = value;
    if (const auto value = size(options, "kernel-memory-tcp")) memory.kernel_tcp = value;
    if (const auto value = options.integer("cpu-quota")) cpu.quota = value;
    if (const auto value = options.unsigned_integer("cpu-period")) cpu.period = value;
    if (const auto value = options.unsigned_integer("cpu-burst")) cpu.burst = value;
    if (const auto value = options.unsigned_integer("cpu-share")) cpu.shares = value;
    if (const auto value = options.unsigned_integer("cpu-rt-period")) cpu.realtime_period = value;
    if (const auto value = options.integer("cpu-rt-runtime")) cpu.realtime_runtime = value;
    if (const auto value = options.integer("cpu-idle")) cpu.idle = value;
    if (options.given("cpuset-cpus")) cpu.cpus = options.text("cpuset-cpus");
    if (options.given("cpuset-mems")) cpu.mems = options.text("cpuset-mems");
    if (memory != oci::MemoryLimits{}) wanted.memory = memory;
    if (cpu != oci::CpuLimits{}) wanted.cpu = cpu;
    if (const auto value = options.integer("pids-limit")) wanted.pids = oci::PidsLimit{value};
    if (const auto value = options.unsigned_integer("blkio-weight")) {
        if (*value > std::numeric_limits<std::uint16_t>::max())
            fail(ErrorKind::invalid_argument, "invalid value for --blkio-weight: {}", *value);
        (wanted.block_io ? *wanted.block_io : wanted.block_io.emplace()).weight = static_cast<std::uint16_t>(*value);
    }
    return wanted;
}

template <typename Value>
void replace(Value& value, const Value& by) {
    if (by != Value{}) value = by;
}

/// What was set before goes on to hold: a limit on memory and swap together needs that on memory (cgroup v2), and the state shows all.
void merge(oci::Resources& into, const oci::Resources& from) {
    if (from.memory) {
        auto& memory = into.memory ? *into.memory : into.memory.emplace();
        replace(memory.limit, from.memory->limit);
        replace(memory.reservation, from.memory->reservation);
        replace(memory.swap, from.memory->swap);
        replace(memory.kernel, from.memory->kernel);
        replace(memory.kernel_tcp, from.memory->kernel_tcp);
        replace(memory.swappiness, from.memory->swappiness);
    }
    if (from.cpu) {
        auto& cpu = into.cpu ? *into.cpu : into.cpu.emplace();
        replace(cpu.shares, from.cpu->shares);
        replace(cpu.quota, from.cpu->quota);
        replace(cpu.period, from.cpu->period);
        replace(cpu.burst, from.cpu->burst);
        replace(cpu.realtime_runtime, from.cpu->realtime_runtime);
        replace(cpu.realtime_period, from.cpu->realtime_period);
        replace(cpu.idle, from.cpu->idle);
        replace(cpu.cpus, from.cpu->cpus);
        replace(cpu.mems, from.cpu->mems);
    }
    replace(into.pids, from.pids);
    if (from.block_io) replace((into.block_io ? *into.block_io : into.block_io.emplace()).weight, from.block_io->weight);
}

}  // namespace

int update(const Context& context, const Options& options) {
    State state = load(context.root, options.arguments().front());
    if (status_of(context.root, state) == "stopped") fail(ErrorKind::conflict, "cannot update a container that has stopped");
    oci::Resources wanted = wanted_by(options);
    auto& linux = state.spec.linux_ ? *state.spec.linux_ : state.spec.linux_.emplace();
    auto& kept = linux.resources ? *linux.resources : linux.resources.emplace();
    const bool needs_limit = wanted.memory && wanted.memory->swap && !wanted.memory->limit;
    merge(kept, wanted);
    if (needs_limit) wanted.memory->limit = kept.memory->limit;
    cgroup_of(state).apply(runtime::resources_of(wanted));
    save(context.root, state);
    return 0;
}

}  // namespace grua::app
