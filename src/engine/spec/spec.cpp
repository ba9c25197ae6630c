#include "engine/spec/spec.hpp"

#include "base/text.hpp"
#include "engine/model/capability_set.hpp"

#include <algorithm>
#include <array>

namespace grua::engine {
namespace {

constexpr std::string_view default_path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr std::int64_t default_cpu_period = 100000;  // microseconds

StringList process_env(const SpecInput& input) {
    StringList base{std::string(default_path)};
    if (!input.hostname.empty()) base.push_back("HOSTNAME=" + input.hostname);
    if (input.record.config.tty) base.emplace_back("TERM=xterm");
    base.insert(base.end(), input.linked_environment.begin(), input.linked_environment.end());
    return merge_env(std::move(base), input.record.config.env);
}

std::uint64_t rlimit_value(std::int64_t value) { return static_cast<std::uint64_t>(value); }  // -1 is RLIM_INFINITY

std::vector<oci::Rlimit> rlimits(const HostConfig& config) {
    std::vector<oci::Rlimit> out;
    for (const Ulimit& each : config.ulimits) {
        std::string type = "RLIMIT_";
        for (const char c : each.name) type += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
        oci::Rlimit limit;
        limit.type = std::move(type);
        limit.soft = rlimit_value(each.soft);
        limit.hard = rlimit_value(each.hard);
        out.push_back(std::move(limit));
    }
    return out;
}

oci::Process init_process(const SpecInput& input) {
    const ContainerRecord& record = input.record;
    oci::Process process;
    process.terminal = record.config.tty;
    if (process.terminal && record.host_config.console_size.size() == 2 && record.host_config.console_size[0] != 0) {
        oci::ConsoleSize size;
        size.height = static_cast<std::uint16_t>(std::min(record.host_config.console_size[0], 65535U));
        size.width = static_cast<std::uint16_t>(std::min(record.host_config.console_size[1], 65535U));
        process.console_size = size;
    }
    // Root by its number, so that its groups are looked up too.
    process.user.username = record.config.user.empty() ? "0" : record.config.user;
    process.user.additional_groups = record.host_config.group_add;
    if (!input.init_path.empty()) process.args = {"/sbin/docker-init", "--"};
    process.args.push_back(record.path);
    process.args.insert(process.args.end(), record.args.begin(), record.args.end());
    process.env = process_env(input);
    process.cwd = record.config.working_dir.empty() ? "/" : record.config.working_dir;
    process.rlimits = rlimits(record.host_config);
    process.oom_score_adj = static_cast<std::int32_t>(record.host_config.oom_score_adj);
    return process;
}

std::vector<oci::Namespace> namespaces(const SpecInput& input) {
    const HostConfig& config = input.record.host_config;
    std::vector<oci::Namespace> out;
    const auto add = [&](const char* type) {
        oci::Namespace each;
        each.type = type;
        if (const auto joined = input.joined_namespaces.find(type); joined != input.joined_namespaces.end()) each.path = joined->second;
        out.push_back(std::move(each));
    };
    add("mount");
    if (config.network_mode != "host") add("network");
    if (config.uts_mode != "host") add("uts");
    if (config.ipc_mode != "host") add("ipc");
    if (config.pid_mode != "host") add("pid");
    // Docker's default is a private one on v2 only.
    const bool private_cgroup = config.cgroupns_mode == "private" || (config.cgroupns_mode.empty() && input.host.cgroup_v2);
    if (private_cgroup && !config.privileged) add("cgroup");
    if (private_cgroup && config.privileged && config.cgroupns_mode == "private") add("cgroup");
    return out;
}

std::vector<oci::DeviceRule> device_rules(const SpecInput& input) {
    std::vector<oci::DeviceRule> out;
    oci::DeviceRule all;
    all.allow = input.record.host_config.privileged;
    all.access = "rwm";
    out.push_back(all);
    if (all.allow) return out;
    for (const GrantedDevice& device : input.devices) {
        oci::DeviceRule rule;
        rule.allow = true;
        rule.type = device.node.type;
        rule.major = device.node.major;
        rule.minor = device.node.minor;
        rule.access = device.access;
        out.push_back(std::move(rule));
    }
    for (const auto& text : input.record.host_config.device_cgroup_rules) out.push_back(parse_device_rule(text));
    return out;
}

std::vector<oci::ThrottleDevice> throttles(const std::vector<ThrottleDevice>& in, const DeviceNumbers& devices) {
    std::vector<oci::ThrottleDevice> out;
    for (const auto& each : in) {
        const auto found = devices.find(each.path);
        if (found == devices.end()) continue;
        oci::ThrottleDevice made;
        made.major = found->second.first;
        made.minor = found->second.second;
        made.rate = each.rate;
        out.push_back(made);
    }
    return out;
}

}  // namespace

namespace {

std::string_view name_of(std::string_view entry) { return entry.substr(0, entry.find('=')); }

}  // namespace

StringList inherit_env(StringList asked, const StringList& image) {
    const std::size_t own = asked.size();
    for (const std::string& each : image) {
        const auto same = [&](const std::string& one) { return name_of(one) == name_of(each); };
        if (std::none_of(asked.begin(), asked.begin() + static_cast<std::ptrdiff_t>(own), same)) asked.push_back(each);
    }
    return asked;
}

StringList merge_env(StringList base, const StringList& changes) {
    for (const auto& change : changes) {
        const auto found = std::ranges::find_if(base, [&](const std::string& each) { return name_of(each) == name_of(change); });
        if (change.find('=') == std::string::npos) {
            if (found != base.end()) base.erase(found);
        } else if (found != base.end()) {
            *found = change;
        } else {
            base.push_back(change);
        }
    }
    return base;
}

oci::DeviceRule parse_device_rule(std::string_view text) {
    const auto bad = [&]() { fail(ErrorKind::invalid_argument, "invalid device cgroup rule format: '{}'", text); };
    const auto words = split(text, ' ');
    if (words.size() != 3 || words[0].size() != 1 || !std::string_view("abc").contains(words[0][0])) bad();
    const auto numbers = split(words[1], ':');
    if (numbers.size() != 2 || words[2].empty() || words[2].find_first_not_of("rwm") != std::string::npos) bad();
    oci::DeviceRule rule;
    rule.allow = true;
    rule.type = words[0];
    rule.access = words[2];
    const auto number = [&](const std::string& part) -> std::optional<std::int64_t> {
        if (part == "*") return std::nullopt;
        const auto parsed = parse_uint(part);
        if (!parsed || *parsed > 0xffffffffU) bad();
        return static_cast<std::int64_t>(*parsed);
    };
    rule.major = number(numbers[0]);
    rule.minor = number(numbers[1]);
    return rule;
}

oci::Resources spec_resources(const Resources& limits, const DeviceNumbers& devices) {
    oci::Resources out;
    oci::MemoryLimits memory;
    if (limits.memory > 0) memory.limit = limits.memory;
    if (limits.memory_reservation > 0) memory.reservation = limits.memory_reservation;
    if (limits.memory_swap != 0) memory.swap = limits.memory_swap;
    if (limits.memory_swappiness && *limits.memory_swappiness >= 0)
        memory.swappiness = static_cast<std::uint64_t>(*limits.memory_swappiness);
    if (limits.kernel_memory_tcp > 0) memory.kernel_tcp = limits.kernel_memory_tcp;
    if (limits.oom_kill_disable && *limits.oom_kill_disable) memory.disable_oom_killer = true;
    if (memory != oci::MemoryLimits{}) out.memory = memory;

    oci::CpuLimits cpu;
    if (limits.cpu_shares > 0) cpu.shares = static_cast<std::uint64_t>(limits.cpu_shares);
    if (limits.nano_cpus > 0) {
        cpu.period = static_cast<std::uint64_t>(default_cpu_period);
        cpu.quota = limits.nano_cpus * default_cpu_period / 1'000'000'000;
    }
    if (limits.cpu_period > 0) cpu.period = static_cast<std::uint64_t>(limits.cpu_period);
    if (limits.cpu_quota != 0) cpu.quota = limits.cpu_quota;
    if (limits.cpu_realtime_period > 0) cpu.realtime_period = static_cast<std::uint64_t>(limits.cpu_realtime_period);
    if (limits.cpu_realtime_runtime != 0) cpu.realtime_runtime = limits.cpu_realtime_runtime;
    cpu.cpus = limits.cpuset_cpus;
    cpu.mems = limits.cpuset_mems;
    if (cpu != oci::CpuLimits{}) out.cpu = cpu;

    if (limits.pids_limit.value_or(0) > 0) {
        oci::PidsLimit pids;
        pids.limit = limits.pids_limit;
        out.pids = pids;
    }

    oci::BlockIo io;
    if (limits.blkio_weight > 0) io.weight = limits.blkio_weight;
    for (const auto& each : limits.blkio_weight_device) {
        const auto found = devices.find(each.path);
        if (found == devices.end()) continue;
        oci::WeightDevice made;
        made.major = found->second.first;
        made.minor = found->second.second;
        made.weight = each.weight;
        io.weight_device.push_back(made);
    }
    io.throttle_read_bps_device = throttles(limits.blkio_device_read_bps, devices);
    io.throttle_write_bps_device = throttles(limits.blkio_device_write_bps, devices);
    io.throttle_read_iops_device = throttles(limits.blkio_device_read_iops, devices);
    io.throttle_write_iops_device = throttles(limits.blkio_device_write_iops, devices);
    if (io != oci::BlockIo{}) out.block_io = io;
    return out;
}

linux::Resources cgroup_resources(const Resources& limits) {
    linux::Resources out;
    if (limits.memory != 0) out.memory.limit = limits.memory;
    if (limits.memory_reservation != 0) out.memory.reservation = limits.memory_reservation;
    if (limits.memory_swap != 0) out.memory.swap = limits.memory_swap;
    if (limits.cpu_shares > 0) out.cpu.shares = static_cast<std::uint64_t>(limits.cpu_shares);
    if (limits.nano_cpus > 0) {
        out.cpu.period = static_cast<std::uint64_t>(default_cpu_period);
        out.cpu.quota = limits.nano_cpus * default_cpu_period / 1'000'000'000;
    }
    if (limits.cpu_period > 0) out.cpu.period = static_cast<std::uint64_t>(limits.cpu_period);
    if (limits.cpu_quota != 0) out.cpu.quota = limits.cpu_quota;
    out.cpu.cpus = limits.cpuset_cpus;
    out.cpu.mems = limits.cpuset_mems;
    out.pids_limit = limits.pids_limit;
    if (limits.blkio_weight > 0) out.block_io.weight = limits.blkio_weight;
    return out;
}

oci::RuntimeSpec build_spec(const SpecInput& input) {
    const HostConfig& config = input.record.host_config;
    oci::RuntimeSpec spec;
    spec.oci_version = std::string(oci::runtime_spec_version);
    spec.process = init_process(input);
    spec.root.emplace();
    spec.root->path = "rootfs";  // The real one comes as a descriptor.
    spec.root->readonly = config.readonly_rootfs;
    if (config.uts_mode != "host") {
        spec.hostname = input.hostname;
        spec.domainname = input.record.config.domainname;
    }
    spec.annotations = config.annotations;
    spec.mounts = spec_mounts(input);

    oci::Linux& linux_part = spec.linux_.emplace();
    linux_part.namespaces = namespaces(input);
    linux_part.cgroups_path = input.cgroup_path;
    linux_part.resources = spec_resources(config, input.block_devices);
    linux_part.resources->devices = device_rules(input);
    for (const GrantedDevice& device : input.devices) linux_part.devices.push_back(device.node);
    linux_part.sysctl = config.sysctls;
    if (config.network_mode != "host" && !config.network_mode.starts_with("container:")) {
        linux_part.sysctl.try_emplace("net.ipv4.ip_unprivileged_port_start", "0");
        linux_part.sysctl.try_emplace("net.ipv4.ping_group_range", "0 2147483647");
    }
    add_security(input, spec);
    return spec;
}

oci::Process exec_process(const SpecInput& input, const ExecConfig& config) {
    const ContainerRecord& record = input.record;
    oci::Process process;
    process.terminal = config.tty;
    if (config.tty && config.console_size.size() == 2 && config.console_size[0] != 0) {
        oci::ConsoleSize size;
        size.height = static_cast<std::uint16_t>(std::min(config.console_size[0], 65535U));
        size.width = static_cast<std::uint16_t>(std::min(config.console_size[1], 65535U));
        process.console_size = size;
    }
    process.user.username = !config.user.empty() ? config.user : !record.config.user.empty() ? record.config.user : "0";
    process.user.additional_groups = record.host_config.group_add;
    process.args = config.cmd;
    StringList env = process_env(input);
    if (config.tty && !record.config.tty) env = merge_env({"TERM=xterm"}, env);
    process.env = merge_env(std::move(env), config.env);
    process.cwd = !config.working_dir.empty() ? config.working_dir : record.config.working_dir.empty() ? "/" : record.config.working_dir;
    HostConfig rights = record.host_config;
    rights.privileged = rights.privileged || config.privileged;
    const StringList capabilities = container_capabilities(rights, input.host.capabilities);
    process.capabilities.emplace();
    process.capabilities->bounding = capabilities;
    process.capabilities->effective = capabilities;
    process.capabilities->permitted = capabilities;
    process.no_new_privileges = input.no_new_privileges || parse_security_options(record.host_config).no_new_privileges;
    if (!record.apparmor_profile.empty()) process.apparmor_profile = config.privileged ? "unconfined" : record.apparmor_profile;
    process.rlimits = rlimits(record.host_config);
    process.oom_score_adj = static_cast<std::int32_t>(record.host_config.oom_score_adj);
    return process;
}

}  // namespace grua::engine
