#include "base/files.hpp"
#include "base/text.hpp"
#include "engine/spec/apparmor_profile.hpp"
#include "engine/spec/spec.hpp"
#include "linux/apparmor.hpp"
#include "linux/capabilities.hpp"
#include "linux/cgroup.hpp"

#include <sys/utsname.h>
#include <unistd.h>
#include <algorithm>
#include <filesystem>

namespace grua::engine {

HostFacts host_facts() {
    HostFacts out;
    utsname system{};
    if (::uname(&system) != 0) fail_errno("uname");
    out.machine = system.machine;
    const auto parts = split(system.release, '.');
    const auto number = [](std::string_view text) {
        return static_cast<int>(parse_int(text.substr(0, text.find_first_not_of("0123456789"))).value_or(0));
    };
    out.kernel = {number(parts[0]), parts.size() > 1 ? number(parts[1]) : 0};
    const auto mounts = linux::CgroupMounts::detect();
    out.cgroup_v2 = mounts.layout() == linux::CgroupLayout::v2;
    std::error_code ignored;
    out.swap_limit = out.cgroup_v2 || std::filesystem::exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", ignored);
    out.apparmor = linux::has_apparmor();
    if (out.apparmor && load_default_profile()) out.default_profile = default_profile_name;
    out.selinux = std::filesystem::exists("/sys/fs/selinux/enforce", ignored);
    out.cpus = static_cast<unsigned>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
    // "0" or "0-3"
    const std::string nodes_file = "/sys/devices/system/node/online";
    const std::string nodes = std::filesystem::exists(nodes_file, ignored) ? read_file(nodes_file) : "0";
    out.memory_nodes =
        static_cast<unsigned>(parse_uint(trim(std::string_view(nodes).substr(nodes.find_last_of("-,") + 1))).value_or(0)) + 1;
    out.capabilities = linux::capability_names(linux::known_capabilities() & linux::current_capabilities().bounding);
    for (const auto& cpu : std::filesystem::directory_iterator("/sys/devices/system/cpu", ignored)) {
        const std::string path = cpu.path().string() + "/thermal_throttle";
        if (cpu.path().filename().string().starts_with("cpu") && std::filesystem::exists(path, ignored))
            out.thermal_directories.push_back(path);
    }
    std::ranges::sort(out.thermal_directories);
    return out;
}

}  // namespace grua::engine
