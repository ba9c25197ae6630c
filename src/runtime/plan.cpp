#include "runtime/make_plan.hpp"

#include "base/error.hpp"
#include "linux/mounts.hpp"
#include "linux/process.hpp"
#include "runtime/net_devices.hpp"
#include "runtime/plan.hpp"
#include "runtime/sysctl.hpp"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <sys/stat.h>
#include <algorithm>
#include <cstdlib>

namespace grua::runtime {
namespace {

std::string absolute(const std::string& path, const std::string& bundle) { return path.starts_with('/') ? path : bundle + "/" + path; }

bool is_by_descriptor(const CreateRequest& request, std::uint64_t flag) { return flag == CLONE_NEWNET && request.network_namespace; }

/// A path may well be the creator's own namespace: compared by inode.
bool is_another(const JoinedNamespace& joined) {
    struct stat theirs{};
    struct stat own{};
    const char* self = joined.flag == CLONE_NEWNET   ? "/proc/self/ns/net"
                       : joined.flag == CLONE_NEWIPC ? "/proc/self/ns/ipc"
                                                     : "/proc/self/ns/uts";
    return ::fstat(joined.fd.get(), &theirs) == 0 && ::stat(self, &own) == 0 && theirs.st_ino != own.st_ino;
}

void check_namespaces(const Plan& plan) {
    const bool has_own_user = (plan.own_namespaces & CLONE_NEWUSER) != 0;
    const bool has_maps = !plan.linux->uid_mappings.empty() && !plan.linux->gid_mappings.empty();
    if (has_own_user && !has_maps) fail(ErrorKind::invalid_argument, "user namespaces enabled, but no uid or gid mappings found");
    // It is entered last, and from inside of a user namespace that does not own it the kernel lets nobody in.
    if (has_own_user && plan.pid_namespace)
        fail(ErrorKind::not_implemented, "not implemented: a user namespace of its own together with a PID namespace by path");
    const auto joins = [&](std::uint64_t flag) {
        return std::ranges::any_of(plan.joined, [&](const auto& each) { return each.flag == flag; });
    };
    if (!plan.spec->hostname.empty() && (plan.own_namespaces & CLONE_NEWUTS) == 0 && !joins(CLONE_NEWUTS))
        fail(ErrorKind::invalid_argument, "unable to set hostname without a private UTS namespace");
    if ((!plan.linux->masked_paths.empty() || !plan.linux->readonly_paths.empty()) && !plan.has_own_mounts() && !joins(CLONE_NEWNS))
        fail(ErrorKind::invalid_argument, "unable to restrict sys entries without a private MNT namespace");
    check_net_devices(plan.linux->net_devices);
    std::uint64_t separate = plan.own_namespaces;
    for (const auto& each : plan.joined)
        if (is_another(each)) separate |= each.flag;
    check_sysctls(plan.linux->sysctl, separate);
    if (!plan.linux->net_devices.empty() && (separate & CLONE_NEWNET) == 0)
        fail(ErrorKind::invalid_argument, "unable to move network devices without a private NET namespace");
}

bool is_below(const std::string& path, const std::string& folder) {
    char resolved[PATH_MAX];
    if (!::realpath(path.c_str(), resolved)) return path.starts_with(folder + "/");
    return std::string_view(resolved).starts_with(folder + "/");
}

}  // namespace

void plan_namespaces(Plan& plan, CreateRequest& request) {
    for (const oci::Namespace& each : plan.linux->namespaces) {
        const std::uint64_t flag = linux::namespace_flag(each.type).value_or(0);
        if (is_by_descriptor(request, flag)) continue;
        if (each.path.empty()) {
            plan.own_namespaces |= flag;
            continue;
        }
        Fd fd{::open(each.path.c_str(), O_RDONLY | O_CLOEXEC)};
        if (!fd) fail_errno("open namespace {}", each.path);
        if (flag == CLONE_NEWUSER)
            plan.user_namespace = std::move(fd);
        else if (flag == CLONE_NEWPID)
            plan.pid_namespace = std::move(fd);
        else
            plan.joined.push_back({flag, std::move(fd)});
    }
    if (request.network_namespace) plan.joined.push_back({CLONE_NEWNET, std::move(request.network_namespace)});
    plan.in_user_namespace = (plan.own_namespaces & CLONE_NEWUSER) != 0 || plan.user_namespace;
    // What they may do is not known.
    plan.has_tracers = static_cast<bool>(plan.pid_namespace);
    check_namespaces(plan);
}

void plan_mounts(Plan& plan, CreateRequest& request) {
    plan.rootfs = std::move(request.rootfs);
    plan.owns_rootfs = static_cast<bool>(plan.rootfs);
    if (!plan.spec->root && !plan.rootfs) fail(ErrorKind::invalid_argument, "root: is missing");
    if (plan.spec->root) plan.rootfs_path = absolute(plan.spec->root->path, request.bundle);
    if (plan.owns_rootfs && !plan.has_own_mounts())
        fail(ErrorKind::invalid_argument, "linux.namespaces: a root by descriptor needs a mount namespace of its own");
    if (!plan.rootfs && plan.has_own_mounts()) {
        plan.rootfs =
            while_doing("rootfs", [&] { return linux::copy_mount(AT_FDCWD, plan.rootfs_path.c_str(), linux::Recursion::recursive); });
    }
    char resolved[PATH_MAX];
    const bool has_path = !plan.owns_rootfs && ::realpath(plan.rootfs_path.c_str(), resolved);
    if (has_path) plan.rootfs_path = resolved;
    const oci::Hooks* hooks = plan.spec->hooks ? &*plan.spec->hooks : nullptr;
    // config.md#posix-platform-hooks: they run before the root is changed, and see the host's paths in the mount namespace.
    plan.at_its_path = has_path && hooks && !(hooks->prestart.empty() && hooks->create_runtime.empty() && hooks->create_container.empty());
    for (const oci::Mount& mount : plan.spec->mounts) {
        PlannedMount planned{&mount, parse_mount_options(mount.options), {}, {}, {}};
        if (mount.type == "bind") planned.options.bind = true;
        if (planned.options.id_mapped || !mount.uid_mappings.empty()) fail(ErrorKind::not_implemented, "not implemented: ID-mapped mounts");
        if (planned.options.bind && !planned.options.remount) planned.source_path = absolute(mount.source, request.bundle);
        if (const auto given = request.mounts.find(mount.destination); planned.options.bind && given != request.mounts.end())
            planned.source = std::move(given->second);
        // What an earlier mount of the same configuration puts there is meant.
        if (!planned.source_path.empty() && has_path && is_below(planned.source_path, plan.rootfs_path)) plan.at_its_path = true;
        plan.mounts.push_back(std::move(planned));
    }
    plan.at_its_path = plan.at_its_path && plan.has_own_mounts();
    // A hook is a program of the host, and a user namespace's proc may only be mounted where another one is seen.
    if (plan.pivot && plan.has_own_mounts() && !plan.in_user_namespace && !plan.at_its_path) plan.empty_mounts = request.empty_mounts;
    if (!plan.in_user_namespace) return;
    // There the child has no right to the host's folders.
    for (PlannedMount& planned : plan.mounts) {
        if (planned.source_path.empty() || planned.source) continue;
        const oci::Mount& mount = *planned.mount;
        planned.source = while_doing(fmt::format("error mounting {:?} to rootfs at {:?}", mount.source, mount.destination), [&] {
            return linux::copy_mount(AT_FDCWD, planned.source_path.c_str(),
                                     planned.options.recursive_bind ? linux::Recursion::recursive : linux::Recursion::top_only);
        });
    }
}

}  // namespace grua::runtime
