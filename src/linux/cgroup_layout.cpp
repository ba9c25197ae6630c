// Which hierarchies this machine has, and paths in them.
#include "linux/detail/cgroup_file.hpp"
#include "linux/detail/cgroup_mounts.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/text.hpp"
#include "linux/mountinfo.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <utility>

namespace grua::linux {
namespace {

constexpr std::array<std::pair<std::string_view, unsigned>, 16> controller_names{{
    {"cpu", controller::cpu},
    {"cpuacct", controller::cpuacct},
    {"cpuset", controller::cpuset},
    {"memory", controller::memory},
    {"devices", controller::devices},
    {"freezer", controller::freezer},
    {"blkio", controller::io},
    {"io", controller::io},
    {"pids", controller::pids},
    {"hugetlb", controller::hugetlb},
    {"net_cls", controller::net_cls},
    {"net_prio", controller::net_prio},
    {"perf_event", controller::perf_event},
    {"rdma", controller::rdma},
    {"misc", controller::misc},
    {"name=systemd", controller::systemd},
}};

/// A v2 cgroup can always do this, whatever controllers it has: cpu.stat, cgroup.freeze, BPF.
constexpr unsigned always_on_v2 = controller::cpuacct | controller::devices | controller::freezer | controller::unified;

bool is_cgroup(int fd, bool v2) {
    struct statfs info{};
    return ::fstatfs(fd, &info) == 0 && info.f_type == (v2 ? CGROUP2_SUPER_MAGIC : CGROUP_SUPER_MAGIC);
}

}  // namespace

unsigned controller_bit(std::string_view name) noexcept {
    const auto* found = std::ranges::find(controller_names, name, &std::pair<std::string_view, unsigned>::first);
    return found == controller_names.end() ? 0 : found->second;
}

unsigned parse_controller_list(std::string_view text) noexcept {
    unsigned result = 0;
    while (!text.empty()) {
        const auto end = std::min(text.find_first_of(" \n"), text.size());
        result |= controller_bit(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return result;
}

std::vector<CgroupMount> parse_cgroup_mounts(std::string_view mountinfo) {
    std::vector<CgroupMount> mounts;
    unsigned seen = 0;
    for (const auto& line : split(mountinfo, '\n')) {
        // "31 23 0:28 <root> <mount point> <options> [optional fields] - <type> <source> <super options>"
        const auto fields = split(line, ' ');
        const auto dash = std::ranges::find(fields, "-");
        if (fields.size() < 6 || fields.end() - dash < 4) continue;
        CgroupMount mount{.mount_point = unescape_mount_path(fields[4]), .root = unescape_mount_path(fields[3])};
        if (dash[1] == "cgroup2") {
            mount.controllers = controller::unified;
        } else if (dash[1] == "cgroup") {
            for (const auto& option : split(dash[3], ',')) mount.controllers |= controller_bit(option);
        }
        if (mount.controllers == 0 || (mount.controllers & seen) != 0) continue;
        seen |= mount.controllers;
        mounts.push_back(std::move(mount));
    }
    return mounts;
}

CgroupPath CgroupPath::parse(std::string_view text) {
    constexpr std::size_t longest = 4000;
    const auto refuse = [&](std::string_view why) { fail(ErrorKind::invalid_argument, "invalid cgroup path \"{}\": {}", text, why); };
    if (text.size() < 2 || text.front() != '/') refuse("it must be absolute and not the root");
    if (text.size() > longest) refuse("it is too long");
    for (const auto& part : split(text.substr(1), '/')) {
        if (part.empty() || part == "." || part == "..") refuse("empty, \".\" and \"..\" are not allowed in it");
        if (part.size() > 255) refuse("a component is too long");
        if (part.find_first_of(std::string_view{"\n\0", 2}) != std::string::npos) refuse("it has a control character");
    }
    return CgroupPath{std::string{text}};
}

std::shared_ptr<CgroupMounts::Detected> CgroupMounts::look() {
    auto detected = std::make_shared<Detected>();
    unsigned v1 = 0;
    bool v2 = false;
    for (const auto& mount : parse_cgroup_mounts(read_file("/proc/self/mountinfo", std::size_t{64} << 20U))) {
        const bool unified = mount.controllers == controller::unified;
        Fd root{::open(mount.mount_point.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
        // Another mount may hide it.
        if (!root || !is_cgroup(root.get(), unified)) continue;
        (unified ? v2 = true : (v1 |= mount.controllers & ~controller::systemd) != 0);
        detected->hierarchies.push_back({mount.controllers, std::move(root), mount.mount_point.substr(mount.mount_point.rfind('/') + 1)});
    }
    if (detected->hierarchies.empty()) fail(ErrorKind::unavailable, "no cgroup file system is mounted");

    if (v2 && v1 == 0) {
        detected->layout = CgroupLayout::v2;
        std::erase_if(detected->hierarchies, [](const auto& hierarchy) { return hierarchy.controllers != controller::unified; });
        auto& only = detected->hierarchies.front();
        only.controllers =
            always_on_v2 | parse_controller_list(detail::read_cgroup_file(only.root.get(), "cgroup.controllers").value_or(""));
        detected->controllers = only.controllers;
        detected->joined = only.controllers;
        return detected;
    }
    detected->layout = v2 ? CgroupLayout::hybrid : CgroupLayout::v1;
    detected->controllers = v1;
    // Each hierarchy costs about 0.08 ms of a start, so those that only limit are left until somebody limits. systemd's own are
    // joined only where it runs: there they keep containers out of the engine's unit, which systemd may stop.
    detected->joined = controller::cpu | controller::cpuacct | controller::memory | controller::devices | controller::freezer |
                       controller::io | controller::pids;
    if (::access("/run/systemd/system", F_OK) == 0) detected->joined |= controller::systemd | controller::unified;
    return detected;
}

CgroupMounts CgroupMounts::detect() { return CgroupMounts{look()}; }

CgroupMounts CgroupMounts::detect_with_unified() {
    auto detected = look();
    if (detected->layout == CgroupLayout::hybrid) detected->joined |= controller::unified;
    return CgroupMounts{std::move(detected)};
}

CgroupLayout CgroupMounts::layout() const noexcept { return detected_->layout; }
unsigned CgroupMounts::controllers() const noexcept { return detected_->controllers; }

}  // namespace grua::linux
