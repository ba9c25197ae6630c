// /sys/fs/cgroup of a container: v2 as a mount of its own namespace, v1 as the container's own folder of each hierarchy.
#include "base/error.hpp"
#include "base/files.hpp"
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

void mount_unified(const Plan& plan, const PlannedMount& planned, const linux::CgroupMount& host, int target) {
    const linux::MountChange& attributes = planned.options.top;
    if ((plan.own_namespaces & CLONE_NEWCGROUP) != 0) {
        const Fd made = linux::make_filesystem("cgroup2", "cgroup", planned.options.filesystem, attributes.set);
        linux::attach_mount(made.get(), target, planned.mount->destination);
        return;
    }
    const Fd copy = linux::copy_mount(AT_FDCWD, (host.mount_point + plan.cgroup).c_str(), Recursion::top_only);
    linux::change_mount(copy.get(), attributes, Recursion::top_only, planned.mount->destination);
    linux::attach_mount(copy.get(), target, planned.mount->destination);
}

void bind_hierarchy(const Plan& plan, const PlannedMount& planned, const linux::CgroupMount& host, int folder) {
    const std::string name = host.mount_point.substr(host.mount_point.rfind('/') + 1);
    const std::string path = host.mount_point + plan.cgroup;
    const Fd joined{::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    // A hierarchy that the container has not joined shows nothing.
    if (!joined && errno == ENOENT) return;
    if (!joined) fail_errno("open {}", path);
    const Fd copy = linux::copy_mount(joined.get(), "", Recursion::top_only);
    linux::change_mount(copy.get(), planned.options.top, Recursion::top_only, name);
    if (::mkdirat(folder, name.c_str(), 0755) != 0) fail_errno("create {}", name);
    const Fd target{::openat(folder, name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
    linux::attach_mount(copy.get(), target.get(), name);
    if (!name.contains(',')) return;
    for (const std::string& each : split(name, ',')) {
        if (::symlinkat(name.c_str(), folder, each.c_str()) != 0 && errno != EEXIST) fail_errno("create link {}", each);
    }
}

}  // namespace

void mount_cgroups(const Plan& plan, Progress& progress, const PlannedMount& planned, int target) {
    progress.need_cgroup();
    const auto hosts = linux::parse_cgroup_mounts(read_file("/proc/self/mountinfo", std::size_t{16} << 20U));
    if (hosts.empty()) return;
    if (hosts.size() == 1 && hosts.front().controllers == linux::controller::unified)
        return mount_unified(plan, planned, hosts.front(), target);

    linux::MountChange attributes = planned.options.top;
    const std::uint64_t later = attributes.set & MOUNT_ATTR_RDONLY;
    const Fd folder = linux::make_filesystem("tmpfs", "tmpfs", {"mode=755"}, attributes.set & ~later);
    linux::attach_mount(folder.get(), target, planned.mount->destination);
    for (const auto& host : hosts) bind_hierarchy(plan, planned, host, folder.get());
    if (later != 0) linux::change_mount(folder.get(), {.set = later}, Recursion::top_only, planned.mount->destination);
}

}  // namespace grua::runtime
