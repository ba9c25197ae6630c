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
    template <typename Self = ConsoleSize>
    static json::Fields fields() {
        return json::Fields{json::field("height", &Self::height), json::field("width", &Self::width)};
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
    template <typename Self = User>
    static json::Fields fields() {
        return json::Fields{json::field("uid", &Self::uid),
                            json::field("gid", &Self::gid),
                            json::field("umask", &Self::umask).omitted_when_empty(),
                            json::field("additionalGids", &Self::additional_gids).omitted_when_empty(),
                            json::field("username", &Self::username).omitted_when_empty(),
                            json::field("additionalGroups", &Self::additional_groups).omitted_when_empty()};
    }
};

struct Capabilities {
    std::vector<std::string> bounding;
    std::vector<std::string> effective;
    std::vector<std::string> inheritable;
    std::vector<std::string> permitted;
    std::vector<std::string> ambient;
    friend bool operator==(const Capabilities&, const Capabilities&) = default;
    template <typename Self = Capabilities>
    static json::Fields fields() {
        return json::Fields{
            json::field("bounding", &Self::bounding).omitted_when_empty(), json::field("effective", &Self::effective).omitted_when_empty(),
            json::field("inheritable", &Self::inheritable).omitted_when_empty(),
            json::field("permitted", &Self::permitted).omitted_when_empty(), json::field("ambient", &Self::ambient).omitted_when_empty()};
    }
};

struct Rlimit {
    std::string type;  ///< "RLIMIT_NOFILE"
    std::uint64_t soft = 0;
    std::uint64_t hard = 0;
    friend bool operator==(const Rlimit&, const Rlimit&) = default;
    template <typename Self = Rlimit>
    static json::Fields fields() {
        return json::Fields{json::field("type", &Self::type), json::field("soft", &Self::soft), json::field("hard", &Self::hard)};
    }
};

struct IoPriority {
    std::string io_class;
    std::int32_t priority = 0;
    friend bool operator==(const IoPriority&, const IoPriority&) = default;
    template <typename Self = IoPriority>
    static json::Fields fields() {
        return json::Fields{json::field("class", &Self::io_class), json::field("priority", &Self::priority)};
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
    template <typename Self = Scheduler>
    static json::Fields fields() {
        return json::Fields{json::field("policy", &Self::policy),
                            json::field("nice", &Self::nice).omitted_when_empty(),
                            json::field("priority", &Self::priority).omitted_when_empty(),
                            json::field("flags", &Self::flags).omitted_when_empty(),
                            json::field("runtime", &Self::runtime).omitted_when_empty(),
                            json::field("deadline", &Self::deadline).omitted_when_empty(),
                            json::field("period", &Self::period).omitted_when_empty()};
    }
};

struct ExecCpuAffinity {
    std::string initial;
    std::string final;
    friend bool operator==(const ExecCpuAffinity&, const ExecCpuAffinity&) = default;
    template <typename Self = ExecCpuAffinity>
    static json::Fields fields() {
        return json::Fields{json::field("initial", &Self::initial).omitted_when_empty(),
                            json::field("final", &Self::final).omitted_when_empty()};
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
    template <typename Self = Process>
    static json::Fields fields() {
        return json::Fields{json::field("terminal", &Self::terminal).omitted_when_empty(),
                            json::field("consoleSize", &Self::console_size).omitted_when_empty(),
                            json::field("user", &Self::user),
                            json::field("args", &Self::args),
                            json::field("env", &Self::env).omitted_when_empty(),
                            json::field("cwd", &Self::cwd),
                            json::field("capabilities", &Self::capabilities).omitted_when_empty(),
                            json::field("rlimits", &Self::rlimits).omitted_when_empty(),
                            json::field("noNewPrivileges", &Self::no_new_privileges).omitted_when_empty(),
                            json::field("apparmorProfile", &Self::apparmor_profile).omitted_when_empty(),
                            json::field("oomScoreAdj", &Self::oom_score_adj).omitted_when_empty(),
                            json::field("selinuxLabel", &Self::selinux_label).omitted_when_empty(),
                            json::field("ioPriority", &Self::io_priority).omitted_when_empty(),
                            json::field("scheduler", &Self::scheduler).omitted_when_empty(),
                            json::field("execCPUAffinity", &Self::exec_cpu_affinity).omitted_when_empty()};
    }
};

struct RootFilesystem {
    std::string path;
    bool readonly = false;
    friend bool operator==(const RootFilesystem&, const RootFilesystem&) = default;
    template <typename Self = RootFilesystem>
    static json::Fields fields() {
        return json::Fields{json::field("path", &Self::path), json::field("readonly", &Self::readonly).omitted_when_empty()};
    }
};

struct IdMapping {
    std::uint32_t container_id = 0;
    std::uint32_t host_id = 0;
    std::uint32_t size = 0;
    friend bool operator==(const IdMapping&, const IdMapping&) = default;
    template <typename Self = IdMapping>
    static json::Fields fields() {
        return json::Fields{json::field("containerID", &Self::container_id), json::field("hostID", &Self::host_id),
                            json::field("size", &Self::size)};
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
    template <typename Self = Mount>
    static json::Fields fields() {
        return json::Fields{json::field("destination", &Self::destination),
                            json::field("type", &Self::type).omitted_when_empty(),
                            json::field("source", &Self::source).omitted_when_empty(),
                            json::field("options", &Self::options).omitted_when_empty(),
                            json::field("uidMappings", &Self::uid_mappings).omitted_when_empty(),
                            json::field("gidMappings", &Self::gid_mappings).omitted_when_empty()};
    }
};

struct Hook {
    std::string path;
    std::vector<std::string> args;
    std::vector<std::string> env;
    std::optional<std::int32_t> timeout;  ///< Seconds.
    friend bool operator==(const Hook&, const Hook&) = default;
    template <typename Self = Hook>
    static json::Fields fields() {
        return json::Fields{json::field("path", &Self::path), json::field("args", &Self::args).omitted_when_empty(),
                            json::field("env", &Self::env).omitted_when_empty(),
                            json::field("timeout", &Self::timeout).omitted_when_empty()};
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
    template <typename Self = Hooks>
    static json::Fields fields() {
        return json::Fields{json::field("prestart", &Self::prestart).omitted_when_empty(),
                            json::field("createRuntime", &Self::create_runtime).omitted_when_empty(),
                            json::field("createContainer", &Self::create_container).omitted_when_empty(),
                            json::field("startContainer", &Self::start_container).omitted_when_empty(),
                            json::field("poststart", &Self::poststart).omitted_when_empty(),
                            json::field("poststop", &Self::poststop).omitted_when_empty()};
    }
};

struct Namespace {
    std::string type;  ///< pid network mount ipc uts user cgroup time
    std::string path;
    friend bool operator==(const Namespace&, const Namespace&) = default;
    template <typename Self = Namespace>
    static json::Fields fields() {
        return json::Fields{json::field("type", &Self::type), json::field("path", &Self::path).omitted_when_empty()};
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
    template <typename Self = Device>
    static json::Fields fields() {
        return json::Fields{json::field("path", &Self::path),
                            json::field("type", &Self::type),
                            json::field("major", &Self::major),
                            json::field("minor", &Self::minor),
                            json::field("fileMode", &Self::file_mode).omitted_when_empty(),
                            json::field("uid", &Self::uid).omitted_when_empty(),
                            json::field("gid", &Self::gid).omitted_when_empty()};
    }
};

struct TimeOffset {
    std::int64_t secs = 0;
    std::uint32_t nanosecs = 0;
    friend bool operator==(const TimeOffset&, const TimeOffset&) = default;
    template <typename Self = TimeOffset>
    static json::Fields fields() {
        return json::Fields{json::field("secs", &Self::secs).omitted_when_empty(),
                            json::field("nanosecs", &Self::nanosecs).omitted_when_empty()};
    }
};

struct DeviceRule {
    bool allow = false;
    std::string type;  ///< a c b; empty is a
    std::optional<std::int64_t> major;
    std::optional<std::int64_t> minor;
    std::string access;  ///< of r w m
    friend bool operator==(const DeviceRule&, const DeviceRule&) = default;
    template <typename Self = DeviceRule>
    static json::Fields fields() {
        return json::Fields{json::field("allow", &Self::allow), json::field("type", &Self::type).omitted_when_empty(),
                            json::field("major", &Self::major).omitted_when_empty(),
                            json::field("minor", &Self::minor).omitted_when_empty(),
                            json::field("access", &Self::access).omitted_when_empty()};
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
    template <typename Self = MemoryLimits>
    static json::Fields fields() {
        return json::Fields{json::field("limit", &Self::limit).omitted_when_empty(),
                            json::field("reservation", &Self::reservation).omitted_when_empty(),
                            json::field("swap", &Self::swap).omitted_when_empty(),
                            json::field("kernel", &Self::kernel).omitted_when_empty(),
                            json::field("kernelTCP", &Self::kernel_tcp).omitted_when_empty(),
                            json::field("swappiness", &Self::swappiness).omitted_when_empty(),
                            json::field("disableOOMKiller", &Self::disable_oom_killer).omitted_when_empty(),
                            json::field("useHierarchy", &Self::use_hierarchy).omitted_when_empty(),
                            json::field("checkBeforeUpdate", &Self::check_before_update).omitted_when_empty()};
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
    template <typename Self = CpuLimits>
    static json::Fields fields() {
        return json::Fields{json::field("shares", &Self::shares).omitted_when_empty(),
                            json::field("quota", &Self::quota).omitted_when_empty(),
                            json::field("burst", &Self::burst).omitted_when_empty(),
                            json::field("period", &Self::period).omitted_when_empty(),
                            json::field("realtimeRuntime", &Self::realtime_runtime).omitted_when_empty(),
                            json::field("realtimePeriod", &Self::realtime_period).omitted_when_empty(),
                            json::field("cpus", &Self::cpus).omitted_when_empty(),
                            json::field("mems", &Self::mems).omitted_when_empty(),
                            json::field("idle", &Self::idle).omitted_when_empty()};
    }
};

struct PidsLimit {
    std::optional<std::int64_t> limit;
    friend bool operator==(const PidsLimit&, const PidsLimit&) = default;
    template <typename Self = PidsLimit>
    static json::Fields fields() {
        return json::Fields{json::field("limit", &Self::limit).omitted_when_empty()};
    }
};

struct WeightDevice {
    std::int64_t major = 0;
    std::int64_t minor = 0;
    std::optional<std::uint16_t> weight;
    std::optional<std::uint16_t> leaf_weight;
    friend bool operator==(const WeightDevice&, const WeightDevice&) = default;
    template <typename Self = WeightDevice>
    static json::Fields fields() {
        return json::Fields{json::field("major", &Self::major), json::field("minor", &Self::minor),
                            json::field("weight", &Self::weight).omitted_when_empty(),
                            json::field("leafWeight", &Self::leaf_weight).omitted_when_empty()};
    }
};

struct ThrottleDevice {
    std::int64_t major = 0;
    std::int64_t minor = 0;
    std::uint64_t rate = 0;
    friend bool operator==(const ThrottleDevice&, const ThrottleDevice&) = default;
    template <typename Self = ThrottleDevice>
    static json::Fields fields() {
        return json::Fields{json::field("major", &Self::major), json::field("minor", &Self::minor), json::field("rate", &Self::rate)};
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
    template <typename Self = BlockIo>
    static json::Fields fields() {
        return json::Fields{json::field("weight", &Self::weight).omitted_when_empty(),
                            json::field("leafWeight", &Self::leaf_weight).omitted_when_empty(),
                            json::field("weightDevice", &Self::weight_device).omitted_when_empty(),
                            json::field("throttleReadBpsDevice", &Self::throttle_read_bps_device).omitted_when_empty(),
                            json::field("throttleWriteBpsDevice", &Self::throttle_write_bps_device).omitted_when_empty(),
                            json::field("throttleReadIOPSDevice", &Self::throttle_read_iops_device).omitted_when_empty(),
                            json::field("throttleWriteIOPSDevice", &Self::throttle_write_iops_device).omitted_when_empty()};
    }
};

/// config-linux.md#control-groups
struct HugepageLimit {
    std::string page_size;  ///< "2MB"
    std::uint64_t limit = 0;
    friend bool operator==(const HugepageLimit&, const HugepageLimit&) = default;
    template <typename Self = HugepageLimit>
    static json::Fields fields() {
        return json::Fields{json::field("pageSize", &Self::page_size), json::field("limit", &Self::limit)};
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
    template <typename Self = Resources>
    static json::Fields fields() {
        return json::Fields{json::field("devices", &Self::devices).omitted_when_empty(),
                            json::field("memory", &Self::memory).omitted_when_empty(),
                            json::field("cpu", &Self::cpu).omitted_when_empty(),
                            json::field("pids", &Self::pids).omitted_when_empty(),
                            json::field("blockIO", &Self::block_io).omitted_when_empty(),
                            json::field("hugepageLimits", &Self::hugepage_limits).omitted_when_empty(),
                            json::field("network", &Self::network).omitted_when_empty(),
                            json::field("rdma", &Self::rdma).omitted_when_empty(),
                            json::field("unified", &Self::unified).omitted_when_empty()};
    }
};

struct SeccompArg {
    std::uint32_t index = 0;
    std::uint64_t value = 0;
    std::uint64_t value_two = 0;
    std::string op;
    friend bool operator==(const SeccompArg&, const SeccompArg&) = default;
    template <typename Self = SeccompArg>
    static json::Fields fields() {
        return json::Fields{json::field("index", &Self::index), json::field("value", &Self::value),
                            json::field("valueTwo", &Self::value_two).omitted_when_empty(), json::field("op", &Self::op)};
    }
};

struct SeccompRule {
    std::vector<std::string> names;
    std::string action;
    std::optional<std::uint32_t> errno_ret;
    std::vector<SeccompArg> args;
    friend bool operator==(const SeccompRule&, const SeccompRule&) = default;
    template <typename Self = SeccompRule>
    static json::Fields fields() {
        return json::Fields{json::field("names", &Self::names), json::field("action", &Self::action),
                            json::field("errnoRet", &Self::errno_ret).omitted_when_empty(),
                            json::field("args", &Self::args).omitted_when_empty()};
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
    template <typename Self = Seccomp>
    static json::Fields fields() {
        return json::Fields{json::field("defaultAction", &Self::default_action),
                            json::field("defaultErrnoRet", &Self::default_errno_ret).omitted_when_empty(),
                            json::field("architectures", &Self::architectures).omitted_when_empty(),
                            json::field("flags", &Self::flags).omitted_when_empty(),
                            json::field("listenerPath", &Self::listener_path).omitted_when_empty(),
                            json::field("listenerMetadata", &Self::listener_metadata).omitted_when_empty(),
                            json::field("syscalls", &Self::syscalls).omitted_when_empty()};
    }
};

struct Personality {
    std::string domain;
    std::vector<std::string> flags;
    friend bool operator==(const Personality&, const Personality&) = default;
    template <typename Self = Personality>
    static json::Fields fields() {
        return json::Fields{json::field("domain", &Self::domain), json::field("flags", &Self::flags).omitted_when_empty()};
    }
};

/// A network interface of the host that the container takes (config-linux.md#network-devices).
struct NetDevice {
    std::string name;  ///< Inside; the host's where it is empty.
    friend bool operator==(const NetDevice&, const NetDevice&) = default;
    template <typename Self = NetDevice>
    static json::Fields fields() {
        return json::Fields{json::field("name", &Self::name).omitted_when_empty()};
    }
};

struct Linux {
    std::vector<Namespace> namespaces;
    std::vector<IdMapping> uid_mappings;
    std::vector<IdMapping> gid_mappings;
    std::map<std::string, TimeOffset> time_offsets;
    std::vector<Device> devices;
    std::map<std::string, NetDevice> net_devices;
    std::string cgroups_path;
    std::optional<Resources> resources;
    std::optional<Seccomp> seccomp;
    std::string rootfs_propagation;
    std::vector<std::string> masked_paths;
    std::vector<std::string> readonly_paths;
    std::string mount_label;
    std::map<std::string, std::string> sysctl;
    std::optional<Personality> personality;
    std::optional<json::Value> intel_rdt;  ///< Known so that it can be refused.
    friend bool operator==(const Linux&, const Linux&) = default;
    template <typename Self = Linux>
    static json::Fields fields() {
        return json::Fields{json::field("namespaces", &Self::namespaces).omitted_when_empty(),
                            json::field("uidMappings", &Self::uid_mappings).omitted_when_empty(),
                            json::field("gidMappings", &Self::gid_mappings).omitted_when_empty(),
                            json::field("timeOffsets", &Self::time_offsets).omitted_when_empty(),
                            json::field("devices", &Self::devices).omitted_when_empty(),
                            json::field("netDevices", &Self::net_devices).omitted_when_empty(),
                            json::field("cgroupsPath", &Self::cgroups_path).omitted_when_empty(),
                            json::field("resources", &Self::resources).omitted_when_empty(),
                            json::field("seccomp", &Self::seccomp).omitted_when_empty(),
                            json::field("rootfsPropagation", &Self::rootfs_propagation).omitted_when_empty(),
                            json::field("maskedPaths", &Self::masked_paths).omitted_when_empty(),
                            json::field("readonlyPaths", &Self::readonly_paths).omitted_when_empty(),
                            json::field("mountLabel", &Self::mount_label).omitted_when_empty(),
                            json::field("sysctl", &Self::sysctl).omitted_when_empty(),
                            json::field("personality", &Self::personality).omitted_when_empty(),
                            json::field("intelRdt", &Self::intel_rdt).omitted_when_empty()};
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
    template <typename Self = RuntimeSpec>
    static json::Fields fields() {
        return json::Fields{json::field("ociVersion", &Self::oci_version),
                            json::field("process", &Self::process).omitted_when_empty(),
                            json::field("root", &Self::root).omitted_when_empty(),
                            json::field("hostname", &Self::hostname).omitted_when_empty(),
                            json::field("domainname", &Self::domainname).omitted_when_empty(),
                            json::field("mounts", &Self::mounts).omitted_when_empty(),
                            json::field("hooks", &Self::hooks).omitted_when_empty(),
                            json::field("annotations", &Self::annotations).omitted_when_empty(),
                            json::field("linux", &Self::linux_).omitted_when_empty()};
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
/// The same before it is text, to be part of another document.
json::Value to_value(const Process& process);

/// What `grua-runtime spec` writes: a shell in a container with Docker's default mounts, masks and capabilities.
RuntimeSpec default_runtime_spec();

}  // namespace grua::oci
