// From a container's record to the OCI runtime configuration that starts it. Pure: what is known of the host, and what other
// objects have (devices, namespaces to join), comes in as values.
#pragma once

#include "engine/model/record.hpp"
#include "linux/cgroup_resources.hpp"
#include "oci/runtime_spec.hpp"

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace grua::engine {

/// What the spec depends on and that does not change while gruad runs.
struct HostFacts {
    std::string machine;         ///< uname -m
    std::pair<int, int> kernel;  ///< {6, 1}
    bool cgroup_v2 = false;
    bool swap_limit = false;  ///< The memory controller can limit swap.
    unsigned cpus = 1;        ///< Online.
    unsigned memory_nodes = 1;
    bool apparmor = false;
    std::string default_profile;  ///< AppArmor's, of containers that ask for none; empty: they have none.
    bool selinux = false;
    StringList capabilities;         ///< All that this kernel has.
    StringList thermal_directories;  ///< /sys/devices/system/cpu/cpu*/thermal_throttle
};

HostFacts host_facts();

/// A device node of the host for the container, and what it may do with it.
struct GrantedDevice {
    oci::Device node;
    std::string access;  ///< of "rwm"
};

using DeviceNumbers = std::map<std::string, std::pair<std::int64_t, std::int64_t>>;

struct SpecInput {
    const ContainerRecord& record;
    const HostFacts& host;
    std::string cgroup_path;
    std::string init_path;                                 ///< grua-init on the host, where --init is on.
    std::string hostname;                                  ///< Empty with the host's UTS namespace.
    std::map<std::string, std::string> joined_namespaces;  ///< Kind ("pid", "ipc", …) to path; of container:X.
    std::vector<GrantedDevice> devices;
    DeviceNumbers block_devices;  ///< Of the paths that the blkio limits name.
    bool no_new_privileges = false;
    StringList linked_environment;  ///< What links to other containers say.
};

/// Throws Error(invalid_argument) for what cannot be, not_implemented for what grua does not do yet.
oci::RuntimeSpec build_spec(const SpecInput& input);

/// `--security-opt`, parsed. Throws as build_spec does; create checks with it.
struct SecurityOptions {
    bool no_new_privileges = false;
    bool system_paths_unconfined = false;
    bool writable_cgroups = false;
    bool seccomp_unconfined = false;
    std::string seccomp_profile;   ///< JSON; empty: the default.
    std::string apparmor_profile;  ///< Empty: none is asked for.
    StringList labels;             ///< Of SELinux, "type:x"; empty where they are disabled.
};
SecurityOptions parse_security_options(const HostConfig& config);

/// AppArmor's profile of a container; empty where this kernel has no AppArmor and none is asked for.
std::string apparmor_profile_of(const HostConfig& config, const HostFacts& host);

// What a container does not see of /proc and /sys, and what it cannot change there, unless it is asked for otherwise.
StringList default_masked_paths(const HostFacts& host);
const StringList& default_readonly_paths();

/// `--device-cgroup-rule` "c 1:3 rwm". Throws Error(invalid_argument).
oci::DeviceRule parse_device_rule(std::string_view text);

/// Limits of HostConfig as the specification has them.
oci::Resources spec_resources(const Resources& limits, const DeviceNumbers& devices);

/// The same for a cgroup that lives already: what update() changes.
linux::Resources cgroup_resources(const Resources& limits);

/// The process document of an exec in the container of `input`, whose limits on privileges hold for it as well.
oci::Process exec_process(const SpecInput& input, const ExecConfig& config);

/// Whether this mount comes as a descriptor: a part of a volume, an image, or what a build has made ("given").
bool is_given(const MountPoint& point, const MountDetail& detail);

// parts of build_spec, in spec_mounts.cpp and spec_security.cpp
std::vector<oci::Mount> spec_mounts(const SpecInput& input);
void add_security(const SpecInput& input, oci::RuntimeSpec& spec);

/// What a program gets: later entries replace earlier ones of the same name, in the earlier one's place; "NAME" without "=" removes it.
StringList merge_env(StringList base, const StringList& changes);

/// What a container says of its environment: `asked` as it is, then what the image has under names that it does not.
StringList inherit_env(StringList asked, const StringList& image);

}  // namespace grua::engine
