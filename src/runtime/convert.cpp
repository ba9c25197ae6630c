// From the wire structs of the specification to what the rooms of the kernel take.
#include "runtime/convert.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "linux/apparmor.hpp"
#include "runtime/plan.hpp"

#include <unistd.h>
#include <algorithm>
#include <set>

namespace grua::runtime {
namespace {

template <typename To, typename From>
void copy_throttles(std::vector<To>& to, const std::vector<From>& from) {
    for (const auto& each : from) to.push_back({each.major, each.minor, each.rate});
}

}  // namespace

linux::Resources resources_of(const oci::Resources& from) {
    linux::Resources to;
    if (!from.devices.empty()) {
        auto& rules = to.devices.emplace();
        for (const auto& each : from.devices) {
            const char type = each.type.empty() ? 'a' : each.type.front();
            if (type != 'a' && type != 'b' && type != 'c')
                fail(ErrorKind::invalid_argument, "linux.resources.devices: unknown type {:?}", each.type);
            rules.push_back({each.allow, type, each.major, each.minor, each.access});
        }
        const auto& defaults = linux::default_device_rules();
        rules.insert(rules.end(), defaults.begin(), defaults.end());
    }
    if (from.memory) {
        const auto& memory = *from.memory;
        to.memory.limit = memory.limit;
        to.memory.reservation = memory.reservation;
        to.memory.swap = memory.swap;
        to.memory.kernel = memory.kernel;
        to.memory.kernel_tcp = memory.kernel_tcp;
        to.memory.swappiness = memory.swappiness;
        to.memory.disable_oom_killer = memory.disable_oom_killer;
        to.memory.use_hierarchy = memory.use_hierarchy;
        to.memory.check_before_update = memory.check_before_update;
    }
    if (from.cpu) {
        const auto& cpu = *from.cpu;
        to.cpu.shares = cpu.shares;
        to.cpu.quota = cpu.quota;
        to.cpu.period = cpu.period;
        to.cpu.burst = cpu.burst;
        to.cpu.rt_runtime = cpu.realtime_runtime;
        to.cpu.rt_period = cpu.realtime_period;
        to.cpu.idle = cpu.idle;
        to.cpu.cpus = cpu.cpus;
        to.cpu.mems = cpu.mems;
    }
    if (from.pids && from.pids->limit && *from.pids->limit != 0) to.pids_limit = from.pids->limit;
    if (from.block_io) {
        const auto& io = *from.block_io;
        to.block_io.weight = io.weight;
        to.block_io.leaf_weight = io.leaf_weight;
        for (const auto& each : io.weight_device)
            to.block_io.weight_device.push_back({each.major, each.minor, each.weight, each.leaf_weight});
        copy_throttles(to.block_io.throttle_read_bps, io.throttle_read_bps_device);
        copy_throttles(to.block_io.throttle_write_bps, io.throttle_write_bps_device);
        copy_throttles(to.block_io.throttle_read_iops, io.throttle_read_iops_device);
        copy_throttles(to.block_io.throttle_write_iops, io.throttle_write_iops_device);
    }
    for (const auto& each : from.hugepage_limits) {
        // It becomes part of a file's name.
        if (each.page_size.empty() ||
            !std::ranges::all_of(each.page_size, [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z'); }))
            fail(ErrorKind::invalid_argument, "linux.resources.hugepageLimits: {:?} is not a page size", each.page_size);
        to.hugepage_limits.push_back({each.page_size, each.limit});
    }
    to.unified = from.unified;
    return to;
}

std::string planned_profile(const oci::Process& process) {
    if (process.apparmor_profile.empty() || linux::has_apparmor()) return process.apparmor_profile;
    if (process.apparmor_profile != "unconfined") log::warn("process.apparmorProfile has no effect: this kernel has no AppArmor");
    return {};
}

void refuse_unsupported(const oci::Process& process, const oci::Linux& linux) {
    const auto refuse = [](bool given, const char* what) {
        if (given) fail(ErrorKind::not_implemented, "not implemented: {}", what);
    };
    // A kernel without the module has nothing to confine with; who asks for it all the same is told.
    const auto refuse_or_warn = [&](bool given, const char* module, const char* what) {
        if (!given) return;
        refuse(::access(module, F_OK) == 0, what);
        log::warn("{} has no effect: this kernel has no such module", what);
    };
    constexpr const char* selinux = "/sys/fs/selinux";
    refuse_or_warn(!process.selinux_label.empty(), selinux, "process.selinuxLabel");
    refuse_or_warn(!linux.mount_label.empty(), selinux, "linux.mountLabel");
    refuse(process.io_priority.has_value(), "process.ioPriority");
    refuse(process.scheduler.has_value(), "process.scheduler");
    refuse(process.exec_cpu_affinity.has_value(), "process.execCPUAffinity");
    refuse(linux.personality.has_value(), "linux.personality");
    refuse(linux.intel_rdt.has_value(), "linux.intelRdt");
    if (!linux.resources) return;
    refuse(linux.resources->network.has_value(), "linux.resources.network");
    refuse(linux.resources->rdma.has_value(), "linux.resources.rdma");
}

linux::SeccompProfile seccomp_profile(const oci::Seccomp& from) {
    const auto action = [](const std::string& name) {
        const auto found = linux::seccomp_action(name);
        if (!found) fail(ErrorKind::invalid_argument, "linux.seccomp: unknown action {:?}", name);
        return *found;
    };
    linux::SeccompProfile to;
    to.default_action = action(from.default_action);
    to.default_errno = from.default_errno_ret;
    to.architectures = from.architectures;
    if (!from.flags.empty()) to.flags = from.flags;
    if (!from.listener_path.empty()) fail(ErrorKind::not_implemented, "not implemented: linux.seccomp.listenerPath");
    for (const auto& rule : from.syscalls) {
        linux::SeccompSyscall& out = to.syscalls.emplace_back(linux::SeccompSyscall{rule.names, action(rule.action), rule.errno_ret, {}});
        for (const auto& arg : rule.args) {
            const auto op = linux::seccomp_op(arg.op);
            if (!op) fail(ErrorKind::invalid_argument, "linux.seccomp: unknown comparison {:?}", arg.op);
            out.args.push_back({arg.index, arg.value, arg.value_two, *op});
        }
    }
    return to;
}

linux::Capabilities planned_capabilities(const oci::Process& process) {
    linux::Capabilities to;
    if (!process.capabilities) return to;
    const oci::Capabilities& from = *process.capabilities;
    std::set<std::string> unknown;
    const auto set_of = [&](const std::vector<std::string>& names) {
        linux::ParsedCapabilities parsed = linux::parse_capabilities(names);
        unknown.insert(parsed.unknown.begin(), parsed.unknown.end());
        return parsed.set;
    };
    to.bounding = set_of(from.bounding);
    to.effective = set_of(from.effective);
    to.inheritable = set_of(from.inheritable);
    to.permitted = set_of(from.permitted);
    to.ambient = set_of(from.ambient);
    if (!unknown.empty()) log::warn("ignoring unknown or unavailable capabilities: {}", fmt::join(unknown, ", "));
    const linux::CapabilitySet possible = to.permitted & to.inheritable;
    for (const std::string& name : linux::capability_names(to.ambient)) {
        if (!possible.has(*linux::capability_number(name)))
            log::warn("can't raise ambient capability {}: it is not permitted and inheritable", name);
    }
    return to;
}

}  // namespace grua::runtime
