// The container's root: where it is attached, and the change to it.
#include "base/error.hpp"
#include "linux/mounts.hpp"
#include "runtime/plan.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

namespace grua::runtime {
namespace {

using linux::Recursion;

/// The mount namespace is a copy of the creator's.
void go_to_own_mounts() {
    // A creator in a chroot has another root than its mount namespace, and whoever joins that later, as exec does, is at the
    // namespace's: the host's files. Joining one's own namespace goes to its root, which the container's then replaces.
    const Fd own{::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC)};
    if (!own || ::setns(own.get(), CLONE_NEWNS) != 0) fail_errno("go to the root of the mount namespace");
    // What is mounted in it must not reach the host.
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) fail_errno("make the mounts our own");
}

/// In a mount namespace that others use: the root stays where it is, and what is mounted below it stays with it.
void use_root_in_place(const Plan& plan, Progress& progress) {
    Fd root{::open(plan.rootfs_path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (!root) fail_errno("open {}", plan.rootfs_path);
    if (plan.spec->root && plan.spec->root->readonly) {
        Fd copy = linux::copy_mount(root.get(), "", Recursion::recursive);
        linux::attach_mount(copy.get(), root.get(), plan.rootfs_path);
        root = std::move(copy);
    }
    progress.root.emplace(Root::at(std::move(root)));
}

}  // namespace

void attach_rootfs(const Plan& plan, Progress& progress) {
    if (!plan.has_own_mounts()) return use_root_in_place(plan, progress);
    if (plan.empty_mounts < 0) go_to_own_mounts();
    if (plan.empty_mounts >= 0 && (::setns(plan.empty_mounts, CLONE_NEWNS) != 0 || ::unshare(CLONE_NEWNS) != 0))
        fail_errno("begin from an empty mount namespace");

    // Attached over the root, "/" goes on to mean what is below it.
    const std::string place = plan.at_its_path ? plan.rootfs_path : "/";
    const Fd below{::open(place.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (!below) fail_errno("open {}", place);
    linux::attach_mount(plan.rootfs.get(), below.get(), plan.rootfs_path.empty() ? "the given root" : plan.rootfs_path);
    const Fd copy{::fcntl(plan.rootfs.get(), F_DUPFD_CLOEXEC, 3)};
    linux::change_mount(copy.get(), {.propagation = MS_PRIVATE}, Recursion::recursive, plan.rootfs_path);
    progress.root.emplace(Root::at(Fd{::fcntl(copy.get(), F_DUPFD_CLOEXEC, 3)}));
}

void enter_root(const Plan& plan, Progress& progress) {
    if (plan.pivot && plan.has_own_mounts() && plan.empty_mounts < 0) {
        linux::replace_root(progress.root->fd());
    } else {
        // Nothing of the host is below an empty namespace's root: pivot_root, which looks at every process of the machine, has nothing to
        // do. Without pivot_root the host's mounts stay below the container's root, which is attached over them.
        if (::fchdir(progress.root->fd()) != 0) fail_errno("enter the root");
        if (plan.at_its_path && ::mount(".", "/", nullptr, MS_MOVE, nullptr) != 0) fail_errno("move the root");
        if (::chroot(".") != 0) fail_errno("chroot");
    }
    if (::chdir("/") != 0) fail_errno("enter the root");
    const Fd root{::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)};
    Recursion recursion{};
    const unsigned long propagation = parse_propagation(plan.linux->rootfs_propagation, recursion);
    if (propagation != 0 && plan.has_own_mounts()) linux::change_mount(root.get(), {.propagation = propagation}, recursion, "/");
    if (plan.spec->root && plan.spec->root->readonly) linux::change_mount(root.get(), {.set = MOUNT_ATTR_RDONLY}, Recursion::top_only, "/");
}

}  // namespace grua::runtime
