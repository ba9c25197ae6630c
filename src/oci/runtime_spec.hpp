// The OCI runtime configuration, version 1.3: config.json of a bundle (opencontainers/runtime-spec, config.md and
// config-linux.md). Wire structs with the specification's names; parse_spec() checks what a schema can check, so that
// what parses is usable: absolute paths, known namespaces, known signals of the seccomp section are not looked at
// again. Parts for other systems than Linux are ignored.
#pragma once

#include "base/codec.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::oci {

struct ConsoleSize {
    std::uint16_t height = 0;
    std::uint16_t width = 0;
    friend bool operator==(const ConsoleSize&, const ConsoleSize&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("height", &ConsoleSize::height), json::field("width", &ConsoleSize::width)};
    }
};

struct User {
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::optional<std::uint32_t> umask;
    std::vector<std::uint32_t> additional_gids;
    /// "user[:group]" as Docker takes it, looked up in the container's own files. The specification has it for Windows
    /// only: `grua-runtime`'s command line clears it, grua's engine uses it. Overrides uid, gid.
    std::string username;
    /// grua's own: names or numbers of further groups (`docker run --group-add`), looked up alike.
    std::vector<std::string> additional_groups;
    friend bool operator==(const User&, const User&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("uid", &User::uid),
                          json::field("gid", &User::gid),
                          json::field("umask", &User::umask).omitted_when_empty(),
                          json::field("additionalGids", &User::additional_gids).omitted_when_empty(),
                          json::field("username", &User::username).omitted_when_empty(),
                          json::field("additionalGroups", &User::additional_groups).omitted_when_empty()};
    }
};

struct Capabilities {
    std::vector<std::string> bounding;
    std::vector<std::string> effective;
    std::vector<std::string> inheritable;
    std::vector<std::string> permitted;
    std::vector<std::string> ambient;
    friend bool operator==(const Capabilities&, const Capabilities&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("bounding", &Capabilities::bounding).omitted_when_empty(),
                          json::field("effective", &Capabilities::effective).omitted_when_empty(),
                          json::field("inheritable", &Capabilities::inheritable).omitted_when_empty(),
                          json::field("permitted", &Capabilities::permitted).omitted_when_empty(),
                          json::field("ambient", &Capabilities::ambient).omitted_when_empty()};
    }
};

struct Rlimit {
    std::string type;  ///< "RLIMIT_NOFILE"
    std::uint64_t soft = 0;
    std::uint64_t hard = 0;
    friend bool operator==(const Rlimit&, const Rlimit&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("type", &Rlimit::type), json::field("soft", &Rlimit::soft), json::field("hard", &Rlimit::hard)};
    }
};

struct IoPriority {
    std::string io_class;
    std::int32_t priority = 0;
    friend bool operator==(const IoPriority&, const IoPriority&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("class", &IoPriority::io_class), json::field("priority", &IoPriority::priority)};
    }
};

struct Scheduler {
    std::string policy;
    std::int32_t nice = 0;
    std::int32_t priority = 0;
    std::vector<std::string> flags;
    std::uint64_t runtime = 0;
    std::uint64_t deadline = 0;
    std::uint64_t period = 0;
    friend bool operator==(const Scheduler&, const Scheduler&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("policy", &Scheduler::policy),
                          json::field("nice", &Scheduler::nice).omitted_when_empty(),
                          json::field("priority", &Scheduler::priority).omitted_when_empty(),
                          json::field("flags", &Scheduler::flags).omitted_when_empty(),
                          json::field("runtime", &Scheduler::runtime).omitted_when_empty(),
                          json::field("deadline", &Scheduler::deadline).omitted_when_empty(),
                          json::field("period", &Scheduler::period).omitted_when_empty()};
    }
};

struct ExecCpuAffinity {
    std::string initial;
    std::string final;
    friend bool operator==(const ExecCpuAffinity&, const ExecCpuAffinity&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("initial", &ExecCpuAffinity::initial).omitted_when_empty(),
                          json::field("final", &ExecCpuAffinity::final).omitted_when_empty()};
    }
};

/// config.md#process
struct Process {
    bool terminal = false;
    std::optional<ConsoleSize> console_size;
    User user;
    std::vector<std::string> args;
    std::vector<std::string> env;
    std::string cwd = "/";
    std::optional<Capabilities> capabilities;
    std::vector<Rlimit> rlimits;
    bool no_new_privileges = false;
    std::string apparmor_profile;
    std::optional<std::int32_t> oom_score_adj;
    std::string selinux_label;
    std::optional<IoPriority> io_priority;
    std::optional<Scheduler> scheduler;
    std::optional<ExecCpuAffinity> exec_cpu_affinity;
    friend bool operator==(const Process&, const Process&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("terminal", &Process::terminal).omitted_when_empty(),
                          json::field("consoleSize", &Process::console_size).omitted_when_empty(),
                          json::field("user", &Process::user),
                          json::field("args", &Process::args),
                          json::field("env", &Process::env).omitted_when_empty(),
                          json::field("cwd", &Process::cwd),
                          json::field("capabilities", &Process::capabilities).omitted_when_empty(),
                          json::field("rlimits", &Process::rlimits).omitted_when_empty(),
                          json::field("noNewPrivileges", &Process::no_new_privileges).omitted_when_empty(),
                          json::field("apparmorProfile", &Process::apparmor_profile).omitted_when_empty(),
                          json::field("oomScoreAdj", &Process::oom_score_adj).omitted_when_empty(),
                          json::field("selinuxLabel", &Process::selinux_label).omitted_when_empty(),
                          json::field("ioPriority", &Process::io_priority).omitted_when_empty(),
                          json::field("scheduler", &Process::scheduler).omitted_when_empty(),
                          json::field("execCPUAffinity", &Process::exec_cpu_affinity).omitted_when_empty()};
    }
};

struct RootFilesystem {
    std::string path;
    bool readonly = false;
    friend bool operator==(const RootFilesystem&, const RootFilesystem&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("path", &RootFilesystem::path),
                          json::field("readonly", &RootFilesystem::readonly).omitted_when_empty()};
    }
};

struct IdMapping {
    std::uint32_t container_id = 0;
    std::uint32_t host_id = 0;
    std::uint32_t size = 0;
    friend bool operator==(const IdMapping&, const IdMapping&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("containerID", &IdMapping::container_id), json::field("hostID", &IdMapping::host_id),
                          json::field("size", &IdMapping::size)};
    }
};

struct Mount {
    std::string destination;
    std::string type;
    std::string source;
    std::vector<std::string> options;
    std::vector<IdMapping> uid_mappings;
    std::vector<IdMapping> gid_mappings;
    friend bool operator==(const Mount&, const Mount&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("destination", &Mount::destination),
                          json::field("type", &Mount::type).omitted_when_empty(),
                          json::field("source", &Mount::source).omitted_when_empty(),
                          json::field("options", &Mount::options).omitted_when_empty(),
                          json::field("uidMappings", &Mount::uid_mappings).omitted_when_empty(),
                          json::field("gidMappings", &Mount::gid_mappings).omitted_when_empty()};
    }
};

struct Hook {
    std::string path;
    std::vector<std::string> args;
    std::vector<std::string> env;
    std::optional<std::int32_t> timeout;  ///< Seconds.
    friend bool operator==(const Hook&, const Hook&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("path", &Hook::path), json::field("args", &Hook::args).omitted_when_empty(),
                          json::field("env", &Hook::env).omitted_when_empty(), json::field("timeout", &Hook::timeout).omitted_when_empty()};
    }
};

struct Hooks {
    std::vector<Hook> prestart;
    std::vector<Hook> create_runtime;
    std::vector<Hook> create_container;
    std::vector<Hook> start_container;
    std::vector<Hook> poststart;
    std::vector<Hook> poststop;
    friend bool operator==(const Hooks&, const Hooks&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("prestart", &Hooks::prestart).omitted_when_empty(),
                          json::field("createRuntime", &Hooks::create_runtime).omitted_when_empty(),
                          json::field("createContainer", &Hooks::create_container).omitted_when_empty(),
                          json::field("startContainer", &Hooks::start_container).omitted_when_empty(),
                          json::field("poststart", &Hooks::poststart).omitted_when_empty(),
                          json::field("poststop", &Hooks::poststop).omitted_when_empty()};
    }
};

struct Namespace {
    std::string type;  ///< pid network mount ipc uts user cgroup time
    std::string path;
    friend bool operator==(const Namespace&, const Namespace&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("type", &Namespace::type), json::field("path", &Namespace::path).omitted_when_empty()};
    }
};

struct Device {
    std::string path;
    std::string type;  ///< c b u p
    std::int64_t major = 0;
    std::int64_t minor = 0;
    std::optional<std::uint32_t> file_mode;
    std::optional<std::uint32_t> uid;
    std::optional<std::uint32_t> gid;
    friend bool operator==(const Device&, const Device&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("path", &Device::path),
                          json::field("type", &Device::type),
                          json::field("major", &Device::major),
                          json::field("minor", &Device::minor),
                          json::field("fileMode", &Device::file_mode).omitted_when_empty(),
                          json::field("uid", &Device::uid).omitted_when_empty(),
                          json::field("gid", &Device::gid).omitted_when_empty()};
    }
};

struct TimeOffset {
    std::int64_t secs = 0;
    std::uint32_t nanosecs = 0;
    friend bool operator==(const TimeOffset&, const TimeOffset&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("secs", &TimeOffset::secs).omitted_when_empty(),
                          json::field("nanosecs", &TimeOffset::nanosecs).omitted_when_empty()};
    }
};

struct DeviceRule {
    bool allow = false;
    std::string type;  ///< a c b; empty is a
    std::optional<std::int64_t> major;
    std::optional<std::int64_t> minor;
    std::string access;  ///< of r w m
    friend bool operator==(const DeviceRule&, const DeviceRule&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("allow", &DeviceRule::allow), json::field("type", &DeviceRule::type).omitted_when_empty(),
                          json::field("major", &DeviceRule::major).omitted_when_empty(),
                          json::field("minor", &DeviceRule::minor).omitted_when_empty(),
                          json::field("access", &DeviceRule::access).omitted_when_empty()};
    }
};

struct MemoryLimits {
    std::optional<std::int64_t> limit;
    std::optional<std::int64_t> reservation;
    std::optional<std::int64_t> swap;
    std::optional<std::int64_t> kernel;
    std::optional<std::int64_t> kernel_tcp;
    std::optional<std::uint64_t> swappiness;
    std::optional<bool> disable_oom_killer;
    std::optional<bool> use_hierarchy;
    std::optional<bool> check_before_update;
    friend bool operator==(const MemoryLimits&, const MemoryLimits&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("limit", &MemoryLimits::limit).omitted_when_empty(),
                          json::field("reservation", &MemoryLimits::reservation).omitted_when_empty(),
                          json::field("swap", &MemoryLimits::swap).omitted_when_empty(),
                          json::field("kernel", &MemoryLimits::kernel).omitted_when_empty(),
                          json::field("kernelTCP", &MemoryLimits::kernel_tcp).omitted_when_empty(),
                          json::field("swappiness", &MemoryLimits::swappiness).omitted_when_empty(),
                          json::field("disableOOMKiller", &MemoryLimits::disable_oom_killer).omitted_when_empty(),
                          json::field("useHierarchy", &MemoryLimits::use_hierarchy).omitted_when_empty(),
                          json::field("checkBeforeUpdate", &MemoryLimits::check_before_update).omitted_when_empty()};
    }
};

struct CpuLimits {
    std::optional<std::uint64_t> shares;
    std::optional<std::int64_t> quota;
    std::optional<std::uint64_t> burst;
    std::optional<std::uint64_t> period;
    std::optional<std::int64_t> realtime_runtime;
    std::optional<std::uint64_t> realtime_period;
    std::string cpus;
    std::string mems;
    std::optional<std::int64_t> idle;
    friend bool operator==(const CpuLimits&, const CpuLimits&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("shares", &CpuLimits::shares).omitted_when_empty(),
                          json::field("quota", &CpuLimits::quota).omitted_when_empty(),
                          json::field("burst", &CpuLimits::burst).omitted_when_empty(),
                          json::field("period", &CpuLimits::period).omitted_when_empty(),
                          json::field("realtimeRuntime", &CpuLimits::realtime_runtime).omitted_when_empty(),
                          json::field("realtimePeriod", &CpuLimits::realtime_period).omitted_when_empty(),
                          json::field("cpus", &CpuLimits::cpus).omitted_when_empty(),
                          json::field("mems", &CpuLimits::mems).omitted_when_empty(),
                          json::field("idle", &CpuLimits::idle).omitted_when_empty()};
    }
};

struct PidsLimit {
    std::optional<std::int64_t> limit;
    friend bool operator==(const PidsLimit&, const PidsLimit&) = default;
    static constexpr auto fields() { return std::tuple{json::field("limit", &PidsLimit::limit).omitted_when_empty()}; }
};

struct WeightDevice {
    std::int64_t major = 0;
    std::int64_t minor = 0;
    std::optional<std::uint16_t> weight;
    std::optional<std::uint16_t> leaf_weight;
    friend bool operator==(const WeightDevice&, const WeightDevice&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("major", &WeightDevice::major), json::field("minor", &WeightDevice::minor),
                          json::field("weight", &WeightDevice::weight).omitted_when_empty(),
                          json::field("leafWeight", &WeightDevice::leaf_weight).omitted_when_empty()};
    }
};

struct ThrottleDevice {
    std::int64_t major = 0;
    std::int64_t minor = 0;
    std::uint64_t rate = 0;
    friend bool operator==(const ThrottleDevice&, const ThrottleDevice&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("major", &ThrottleDevice::major), json::field("minor", &ThrottleDevice::minor),
                          json::field("rate", &ThrottleDevice::rate)};
    }
};

struct BlockIo {
    std::optional<std::uint16_t> weight;
    std::optional<std::uint16_t> leaf_weight;
    std::vector<WeightDevice> weight_device;
    std::vector<ThrottleDevice> throttle_read_bps_device;
    std::vector<ThrottleDevice> throttle_write_bps_device;
    std::vector<ThrottleDevice> throttle_read_iops_device;
    std::vector<ThrottleDevice> throttle_write_iops_device;
    friend bool operator==(const BlockIo&, const BlockIo&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("weight", &BlockIo::weight).omitted_when_empty(),
                          json::field("leafWeight", &BlockIo::leaf_weight).omitted_when_empty(),
                          json::field("weightDevice", &BlockIo::weight_device).omitted_when_empty(),
                          json::field("throttleReadBpsDevice", &BlockIo::throttle_read_bps_device).omitted_when_empty(),
                          json::field("throttleWriteBpsDevice", &BlockIo::throttle_write_bps_device).omitted_when_empty(),
                          json::field("throttleReadIOPSDevice", &BlockIo::throttle_read_iops_device).omitted_when_empty(),
                          json::field("throttleWriteIOPSDevice", &BlockIo::throttle_write_iops_device).omitted_when_empty()};
    }
};

/// config-linux.md#control-groups
struct HugepageLimit {
    std::string page_size;  ///< "2MB"
    std::uint64_t limit = 0;
    friend bool operator==(const HugepageLimit&, const HugepageLimit&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("pageSize", &HugepageLimit::page_size), json::field("limit", &HugepageLimit::limit)};
    }
};

struct Resources {
    std::vector<DeviceRule> devices;
    std::optional<MemoryLimits> memory;
    std::optional<CpuLimits> cpu;
    std::optional<PidsLimit> pids;
    std::optional<BlockIo> block_io;
    std::vector<HugepageLimit> hugepage_limits;
    std::optional<json::Value> network;  ///< These two are known so that they can be refused.
    std::optional<json::Value> rdma;
    std::map<std::string, std::string> unified;
    friend bool operator==(const Resources&, const Resources&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("devices", &Resources::devices).omitted_when_empty(),
                          json::field("memory", &Resources::memory).omitted_when_empty(),
                          json::field("cpu", &Resources::cpu).omitted_when_empty(),
                          json::field("pids", &Resources::pids).omitted_when_empty(),
                          json::field("blockIO", &Resources::block_io).omitted_when_empty(),
                          json::field("hugepageLimits", &Resources::hugepage_limits).omitted_when_empty(),
                          json::field("network", &Resources::network).omitted_when_empty(),
                          json::field("rdma", &Resources::rdma).omitted_when_empty(),
                          json::field("unified", &Resources::unified).omitted_when_empty()};
    }
};

struct SeccompArg {
    std::uint32_t index = 0;
    std::uint64_t value = 0;
    std::uint64_t value_two = 0;
    std::string op;
    friend bool operator==(const SeccompArg&, const SeccompArg&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("index", &SeccompArg::index), json::field("value", &SeccompArg::value),
                          json::field("valueTwo", &SeccompArg::value_two).omitted_when_empty(), json::field("op", &SeccompArg::op)};
    }
};

struct SeccompRule {
    std::vector<std::string> names;
    std::string action;
    std::optional<std::uint32_t> errno_ret;
    std::vector<SeccompArg> args;
    friend bool operator==(const SeccompRule&, const SeccompRule&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("names", &SeccompRule::names), json::field("action", &SeccompRule::action),
                          json::field("errnoRet", &SeccompRule::errno_ret).omitted_when_empty(),
                          json::field("args", &SeccompRule::args).omitted_when_empty()};
    }
};

/// config-linux.md#seccomp
struct Seccomp {
    std::string default_action;
    std::optional<std::uint32_t> default_errno_ret;
    std::vector<std::string> architectures;
    std::vector<std::string> flags;
    std::string listener_path;
    std::string listener_metadata;
    std::vector<SeccompRule> syscalls;
    friend bool operator==(const Seccomp&, const Seccomp&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("defaultAction", &Seccomp::default_action),
                          json::field("defaultErrnoRet", &Seccomp::default_errno_ret).omitted_when_empty(),
                          json::field("architectures", &Seccomp::architectures).omitted_when_empty(),
                          json::field("flags", &Seccomp::flags).omitted_when_empty(),
                          json::field("listenerPath", &Seccomp::listener_path).omitted_when_empty(),
                          json::field("listenerMetadata", &Seccomp::listener_metadata).omitted_when_empty(),
                          json::field("syscalls", &Seccomp::syscalls).omitted_when_empty()};
    }
};

struct Personality {
    std::string domain;
    std::vector<std::string> flags;
    friend bool operator==(const Personality&, const Personality&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("domain", &Personality::domain), json::field("flags", &Personality::flags).omitted_when_empty()};
    }
};

struct Linux {
    std::vector<Namespace> namespaces;
    std::vector<IdMapping> uid_mappings;
    std::vector<IdMapping> gid_mappings;
    std::map<std::string, TimeOffset> time_offsets;
    std::vector<Device> devices;
    std::string cgroups_path;
    std::optional<Resources> resources;
    std::optional<Seccomp> seccomp;
    std::string rootfs_propagation;
    std::vector<std::string> masked_paths;
    std::vector<std::string> readonly_paths;
    std::string mount_label;
    std::map<std::string, std::string> sysctl;
    std::optional<Personality> personality;
    std::optional<json::Value> intel_rdt;  ///< These two are known so that they can be refused.
    std::optional<json::Value> net_devices;
    friend bool operator==(const Linux&, const Linux&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("namespaces", &Linux::namespaces).omitted_when_empty(),
                          json::field("uidMappings", &Linux::uid_mappings).omitted_when_empty(),
                          json::field("gidMappings", &Linux::gid_mappings).omitted_when_empty(),
                          json::field("timeOffsets", &Linux::time_offsets).omitted_when_empty(),
                          json::field("devices", &Linux::devices).omitted_when_empty(),
                          json::field("cgroupsPath", &Linux::cgroups_path).omitted_when_empty(),
                          json::field("resources", &Linux::resources).omitted_when_empty(),
                          json::field("seccomp", &Linux::seccomp).omitted_when_empty(),
                          json::field("rootfsPropagation", &Linux::rootfs_propagation).omitted_when_empty(),
                          json::field("maskedPaths", &Linux::masked_paths).omitted_when_empty(),
                          json::field("readonlyPaths", &Linux::readonly_paths).omitted_when_empty(),
                          json::field("mountLabel", &Linux::mount_label).omitted_when_empty(),
                          json::field("sysctl", &Linux::sysctl).omitted_when_empty(),
                          json::field("personality", &Linux::personality).omitted_when_empty(),
                          json::field("intelRdt", &Linux::intel_rdt).omitted_when_empty(),
                          json::field("netDevices", &Linux::net_devices).omitted_when_empty()};
    }
};

/// config.json as a whole.
struct RuntimeSpec {
    std::string oci_version;
    std::optional<Process> process;
    std::optional<RootFilesystem> root;
    std::string hostname;
    std::string domainname;
    std::vector<Mount> mounts;
    std::optional<Hooks> hooks;
    std::map<std::string, std::string> annotations;
    std::optional<Linux> linux_;
    friend bool operator==(const RuntimeSpec&, const RuntimeSpec&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("ociVersion", &RuntimeSpec::oci_version),
                          json::field("process", &RuntimeSpec::process).omitted_when_empty(),
                          json::field("root", &RuntimeSpec::root).omitted_when_empty(),
                          json::field("hostname", &RuntimeSpec::hostname).omitted_when_empty(),
                          json::field("domainname", &RuntimeSpec::domainname).omitted_when_empty(),
                          json::field("mounts", &RuntimeSpec::mounts).omitted_when_empty(),
                          json::field("hooks", &RuntimeSpec::hooks).omitted_when_empty(),
                          json::field("annotations", &RuntimeSpec::annotations).omitted_when_empty(),
                          json::field("linux", &RuntimeSpec::linux_).omitted_when_empty()};
    }
};

inline constexpr std::string_view runtime_spec_version = "1.3.0";

/// Throws Error(invalid_argument) that names the place. Everything that is a rule of the document itself is checked here.
RuntimeSpec parse_runtime_spec(std::string_view text);

/// The same checks for a process document, as `exec --process` and the monitor's exec take it.
Process parse_process(std::string_view text);

/// For documents built in memory. Throws as parse_runtime_spec does.
void check(const RuntimeSpec& spec);
void check(const Process& process);

std::string to_json(const RuntimeSpec& spec);
std::string to_json(const Process& process);

/// What `grua-runtime spec` writes: a shell in a container with Docker's default mounts, masks and capabilities.
RuntimeSpec default_runtime_spec();

}  // namespace grua::oci
