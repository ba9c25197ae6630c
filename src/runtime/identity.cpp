// Who the process is and what it reads and writes.
#include "base/error.hpp"
#include "base/test_points.hpp"
#include "linux/mounts.hpp"
#include "runtime/plan.hpp"
#include "runtime/program.hpp"
#include "runtime/user.hpp"

#include <fcntl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <algorithm>
#include <array>

namespace grua::runtime {
namespace {

/// The standard streams belong to the user, so that opening /dev/stdout again works, as in Docker.
void give_stdio(std::uint32_t uid) {
    for (int fd = 0; fd < 3; ++fd) {
        struct stat about{};
        if (::fstat(fd, &about) != 0 || about.st_uid == uid) continue;
        if (S_ISCHR(about.st_mode) && about.st_rdev == ::makedev(1, 3)) continue;
        [[maybe_unused]] const int done = ::fchown(fd, uid, about.st_gid);  // Not every stream has an owner to change.
    }
}

/// The root is the container's by now. What its /dev/null is must be looked at: it may be anything.
Fd open_null(const Plan& plan) {
    Fd null{::open("/dev/null", O_RDWR | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC)};
    if (null && is_null_device(null.get())) return null;
    try {
        return plan.in_user_namespace ? Fd{} : make_null_device();
    } catch (const Error& error) {
        if (error.os_error() == EPERM) return {};  // The caller is in a user namespace itself, where nobody owns the host's.
        throw;
    }
}

Identity find_identity(const Plan& plan) {
    const oci::User& user = plan.process->user;
    Identity identity{user.uid, user.gid, user.additional_gids, {}};
    const bool by_name = !user.username.empty() || !user.additional_groups.empty();
    if (!by_name && !variable(plan.process->env, "HOME").empty()) return identity;
    // Nobody in particular, so that only root's groups and home are to be had from the files.
    const bool is_root = (user.username.empty() || user.username == "0") && user.additional_groups.empty();
    UserFiles files;
    try {
        files = read_user_files(Root::open("/"));
    } catch (const Error&) {
        if (!is_root) throw;
    }
    if (!by_name) {
        identity.home = home_of(files.passwd, user.uid);
        return identity;
    }
    identity = find_user(files, user.username, user.additional_groups);
    // Without it a file's mode for this group would not bind its members (CVE-2022-36109).
    if (!is_left_out("CVE-2022-36109")) identity.groups.insert(identity.groups.begin(), identity.gid);
    identity.groups.insert(identity.groups.end(), user.additional_gids.begin(), user.additional_gids.end());
    return identity;
}

}  // namespace

bool is_null_device(int fd) {
    struct stat about{};
    return ::fstat(fd, &about) == 0 && S_ISCHR(about.st_mode) && about.st_rdev == ::makedev(1, 3);
}

Fd make_null_device() {
    const Fd mount = linux::make_filesystem("tmpfs", "tmpfs", {"nr_blocks=1", "nr_inodes=2"}, 0);
    if (::mknodat(mount.get(), "null", S_IFCHR | 0666, ::makedev(1, 3)) != 0) fail_errno("create a null device");
    Fd null{::openat(mount.get(), "null", O_RDWR | O_NOFOLLOW | O_CLOEXEC)};
    if (!null) fail_errno("open a null device");
    return null;
}

void use_stdio(const Plan& plan, Progress& progress) {
    std::array<int, 3> wanted{plan.stdio.in, plan.stdio.out, plan.stdio.err};
    if (progress.terminal) wanted.fill(progress.terminal.get());
    // Where none is given, and in place of the host's: its mode and owner could be changed through the descriptor.
    Fd null;
    for (int& each : wanted) {
        if (each >= 0 && !is_null_device(each)) continue;
        if (!null) null = open_null(plan);
        if (null) each = null.get();
        if (each < 0) fail(ErrorKind::system, "/dev/null of the container is not the null device");
    }
    // Out of the way first: a wanted descriptor may itself be 0, 1 or 2.
    std::array<Fd, 3> copies;
    for (std::size_t i = 0; i < 3; ++i) {
        copies[i] = Fd{::fcntl(wanted[i], F_DUPFD_CLOEXEC, 3 + plan.preserved_fds)};
        if (!copies[i]) fail_errno("standard stream {}", i);
    }
    for (std::size_t i = 0; i < 3; ++i) {
        if (::dup2(copies[i].get(), static_cast<int>(i)) < 0) fail_errno("standard stream {}", i);
    }
}

void become_user(const Plan& plan, Progress& progress) {
    const Identity identity = find_identity(plan);
    progress.home = identity.home.empty() ? "/" : identity.home;
    give_stdio(identity.uid);

    if (plan.process->no_new_privileges && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail_errno("no_new_privs");
    linux::limit_bounding(plan.capabilities.bounding);
    if (::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) fail_errno("keep capabilities");
    const auto& groups = identity.groups;
    const bool only_its_own = groups.empty() || (groups.size() == 1 && groups.front() == identity.gid);
    // A user namespace may deny it, and then nothing is to be taken away.
    if (::syscall(SYS_setgroups, groups.size(), groups.data()) != 0 && !(errno == EPERM && only_its_own)) fail_errno("set the groups");
    if (::syscall(SYS_setresgid, identity.gid, identity.gid, identity.gid) != 0) fail_errno("become group {}", identity.gid);
    if (::syscall(SYS_setresuid, identity.uid, identity.uid, identity.uid) != 0) fail_errno("become user {}", identity.uid);
    // A change of user makes a process that can be traced again.
    if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) fail_errno("dumpable");
    ::umask(plan.process->user.umask.value_or(0022));
}

}  // namespace grua::runtime
