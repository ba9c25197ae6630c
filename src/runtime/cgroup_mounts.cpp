// /sys/fs/cgroup of a container: v2 as a mount of its own namespace, v1 as the container's own folder of each hierarchy.
#include "base/error.hpp"
#include "base/text.hpp"
#include "linux/cgroup.hpp"
#include "linux/mounts.hpp"
#include "runtime/plan.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

namespace grua::runtime {
namespace {

using linux::Recursion;

void attach_hierarchy(const CgroupCopy& copy, int folder) {
    if (::mkdirat(folder, copy.name.c_str(), 0755) != 0) fail_errno("create {}", copy.name);
    const Fd target{::openat(folder, copy.name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
    linux::attach_mount(copy.mount.get(), target.get(), copy.name);
    if (!copy.name.contains(',')) return;
    for (const std::string& each : split(copy.name, ',')) {
        if (::symlinkat(copy.name.c_str(), folder, each.c_str()) != 0 && errno != EEXIST) fail_errno("create link {}", each);
    }
}

}  // namespace

bool is_of_cgroups(const PlannedMount& planned) {
    return !planned.source && !planned.options.remount && (planned.mount->type == "cgroup" || planned.mount->type == "cgroup2");
}

void copy_cgroups(Plan& plan, const linux::Cgroup& cgroup) {
    for (PlannedMount& planned : plan.mounts) {
        if (!is_of_cgroups(planned)) continue;
        if (plan.has_cgroup_v2 && (plan.own_namespaces & CLONE_NEWCGROUP) != 0) continue;
        linux::MountChange change = planned.options.top;
        change.propagation = MS_PRIVATE;
        // A hierarchy that the container has not joined shows nothing.
        for (const auto& [hierarchy, fd] : cgroup.folders()) {
            CgroupCopy copy{hierarchy, linux::copy_mount(fd, "", Recursion::top_only)};
            linux::change_mount(copy.mount.get(), change, Recursion::top_only, hierarchy);
            planned.cgroups.push_back(std::move(copy));
        }
    }
}

void mount_cgroups(const Plan& plan, Progress& progress, const PlannedMount& planned, int target) {
    const std::string& destination = planned.mount->destination;
    linux::MountChange attributes = planned.options.top;
    progress.need_cgroup();
    if (plan.has_cgroup_v2 && planned.cgroups.empty()) {
        const Fd made = linux::make_filesystem("cgroup2", "cgroup", planned.options.filesystem, attributes.set);
        return linux::attach_mount(made.get(), target, destination);
    }
    if (plan.has_cgroup_v2) return linux::attach_mount(planned.cgroups.front().mount.get(), target, destination);

    const std::uint64_t later = attributes.set & MOUNT_ATTR_RDONLY;
    const Fd folder = linux::make_filesystem("tmpfs", "tmpfs", {"mode=755"}, attributes.set & ~later);
    linux::attach_mount(folder.get(), target, destination);
    for (const CgroupCopy& copy : planned.cgroups) attach_hierarchy(copy, folder.get());
    if (later != 0) linux::change_mount(folder.get(), {.set = later}, Recursion::top_only, destination);
}

}  // namespace grua::runtime
