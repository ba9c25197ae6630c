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

std::vector<CgroupCopy> copies_of(const PlannedMount& planned, const linux::Cgroup& cgroup) {
    linux::MountChange change = planned.options.top;
    change.propagation = MS_PRIVATE;
    std::vector<CgroupCopy> out;
    // A hierarchy that the container has not joined shows nothing.
    for (const auto& [hierarchy, fd] : cgroup.folders()) {
        CgroupCopy copy{hierarchy, linux::copy_mount(fd, "", Recursion::top_only)};
        linux::change_mount(copy.mount.get(), change, Recursion::top_only, hierarchy);
        out.push_back(std::move(copy));
    }
    return out;
}

}  // namespace

bool is_of_cgroups(const PlannedMount& planned) {
    return planned.source_path.empty() && !planned.options.remount && (planned.mount->type == "cgroup" || planned.mount->type == "cgroup2");
}

void copy_cgroups(Plan& plan, const linux::Cgroup& cgroup) {
    for (PlannedMount& planned : plan.mounts) {
        if (!is_of_cgroups(planned)) continue;
        if (plan.has_cgroup_v2 && (plan.own_namespaces & CLONE_NEWCGROUP) != 0) continue;
        planned.cgroups = copies_of(planned, cgroup);
    }
}

void enter_cgroup_namespace(const Plan& plan, Progress& progress) {
    if ((plan.own_namespaces & CLONE_NEWCGROUP) == 0 || progress.in_cgroup_namespace) return;
    progress.need_cgroup();
    if (::unshare(CLONE_NEWCGROUP) != 0) fail_errno("cgroup namespace");
    progress.in_cgroup_namespace = true;
}

MadeMount make_cgroup_mount(const Plan& plan, Progress& progress, const PlannedMount& planned) {
    const linux::MountChange& attributes = planned.options.top;
    progress.need_cgroup();
    enter_cgroup_namespace(plan, progress);
    MadeMount made;
    if (plan.has_cgroup_v2 && (plan.own_namespaces & CLONE_NEWCGROUP) != 0) {
        made.own = linux::make_filesystem("cgroup2", "cgroup", planned.options.filesystem, attributes.set);
    } else if (!plan.has_cgroup_v2) {
        made.own = linux::make_filesystem("tmpfs", "tmpfs", {"mode=755"}, attributes.set & ~std::uint64_t{MOUNT_ATTR_RDONLY});
    }
    made.fd = made.own.get();
    for (const CgroupCopy& copy : planned.cgroups) made.cgroups.push_back({copy.name, Fd{::fcntl(copy.mount.get(), F_DUPFD_CLOEXEC, 3)}});
    if (planned.cgroups.empty() && (!made.own || !plan.has_cgroup_v2)) made.cgroups = copies_of(planned, *plan.cgroup);
    return made;
}

void attach_cgroups(const Plan& plan, const PlannedMount& planned, const MadeMount& made, int target) {
    const std::string& destination = planned.mount->destination;
    if (!made.own && made.cgroups.empty()) fail(ErrorKind::invalid_argument, "the container has no cgroup that could be mounted");
    if (plan.has_cgroup_v2) return linux::attach_mount(made.own ? made.fd : made.cgroups.front().mount.get(), target, destination);
    linux::attach_mount(made.fd, target, destination);
    for (const CgroupCopy& copy : made.cgroups) attach_hierarchy(copy, made.fd);
    if ((planned.options.top.set & MOUNT_ATTR_RDONLY) != 0)
        linux::change_mount(made.fd, {.set = MOUNT_ATTR_RDONLY}, Recursion::top_only, destination);
}

}  // namespace grua::runtime
