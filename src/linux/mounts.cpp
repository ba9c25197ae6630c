#include "linux/mounts.hpp"

#include "base/error.hpp"
#include "linux/process.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <array>

namespace grua::linux {
namespace {

/// What the file system said about a refused option: lines such as "e tmpfs: Bad value for 'size'".
std::string reason_of(int context) {
    std::string reason;
    std::array<char, 512> line{};
    for (ssize_t got = 0; (got = ::read(context, line.data(), line.size())) > 0;) {
        if (got > 2 && line[0] == 'e') reason += fmt::format(" ({})", std::string_view(line.data() + 2, static_cast<std::size_t>(got - 2)));
    }
    return reason;
}

[[noreturn]] void refused(int context, std::string_view doing) {
    const int error = errno;
    const std::string reason = reason_of(context);
    errno = error;
    fail_errno("{}{}", doing, reason);
}

void set_option(int context, const std::string& option) {
    const std::size_t equals = option.find('=');
    const int done = equals == std::string::npos
                         ? ::fsconfig(context, FSCONFIG_SET_FLAG, option.c_str(), nullptr, 0)
                         : ::fsconfig(context, FSCONFIG_SET_STRING, option.substr(0, equals).c_str(), option.c_str() + equals + 1, 0);
    if (done != 0) refused(context, fmt::format("mount option {:?}", option));
}

void create_filesystem(int context, const char* type, const char* source, const std::vector<std::string>& options) {
    if (*source && ::fsconfig(context, FSCONFIG_SET_STRING, "source", source, 0) != 0) refused(context, fmt::format("source {}", source));
    for (const std::string& option : options) set_option(context, option);
    if (::fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) refused(context, fmt::format("create {}", type));
}

/// Of a process that is alone in its mount namespace; `out` becomes that namespace.
void leave_all_mounts(int out) {
    const Fd own{::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC)};
    if (!own) fail_errno("open /proc/self/ns/mnt");
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) fail_errno("make the mounts private");
    const Fd empty = make_filesystem("tmpfs", "tmpfs", {"nr_blocks=1", "nr_inodes=1", "mode=0555"}, MOUNT_ATTR_RDONLY);
    const Fd host{::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)};
    attach_mount(empty.get(), host.get(), "/");
    replace_root(empty.get());
    if (::dup3(own.get(), out, O_CLOEXEC) < 0) fail_errno("duplicate a descriptor");
}

}  // namespace

void replace_root(int mount) {
    if (::fchdir(mount) != 0) fail_errno("enter the root");
    if (::syscall(SYS_pivot_root, ".", ".") != 0) fail_errno("pivot_root");
    if (::umount2(".", MNT_DETACH) != 0) fail_errno("leave the old root");
}

Fd make_empty_mount_namespace() {
    // Its place: the child shares our descriptors, so what it opens is ours. Its exit status is the error's number.
    Fd made{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
    if (!made) fail_errno("open /dev/null");
    const Cloned child = clone_process(CLONE_NEWNS | CLONE_FILES);
    if (child.pid == 0) {
        try {
            leave_all_mounts(made.get());
            ::_exit(0);
        } catch (const Error& error) {
            ::_exit(error.os_error() != 0 ? error.os_error() : EINVAL);
        }
    }
    int status = 0;
    while (::waitpid(child.pid, &status, 0) < 0) {
        if (errno != EINTR) fail_errno("wait for the maker of a mount namespace");
    }
    if (status == 0) return made;
    errno = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
    fail_errno("make an empty mount namespace");
}

Fd open_filesystem(const char* type) {
    Fd context{::fsopen(type, FSOPEN_CLOEXEC)};
    if (!context && errno == ENODEV) throw Error(ErrorKind::invalid_argument, fmt::format("unknown file system type {}", type), ENODEV);
    if (!context) fail_errno("file system {}", type);
    return context;
}

Fd make_filesystem(int context, const char* type, const char* source, const std::vector<std::string>& options, std::uint64_t attributes) {
    create_filesystem(context, type, source, options);
    Fd mount{::fsmount(context, FSMOUNT_CLOEXEC, static_cast<unsigned>(attributes))};
    if (!mount) refused(context, fmt::format("mount {}", type));
    return mount;
}

Fd make_filesystem(const char* type, const char* source, const std::vector<std::string>& options, std::uint64_t attributes) {
    const Fd context = open_filesystem(type);
    return make_filesystem(context.get(), type, source, options, attributes);
}

Fd hold_filesystem(const char* type) {
    Fd context = open_filesystem(type);
    create_filesystem(context.get(), type, type, {});
    return context;
}

Fd copy_mount(int directory, const char* path, Recursion recursion) {
    unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
    if (recursion == Recursion::recursive) flags |= AT_RECURSIVE;
    Fd copy{::open_tree(directory, path, flags)};
    if (!copy && errno == ENOENT) throw Error(ErrorKind::not_found, fmt::format("{}: no such file or directory", path), ENOENT);
    if (!copy) fail_errno("copy the mount of {}", *path ? path : "a descriptor");
    return copy;
}

void attach_mount(int mount, int target, std::string_view name) {
    if (::move_mount(mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0) fail_errno("attach to {}", name);
}

void change_mount(int mount, const MountChange& change, Recursion recursion, std::string_view name) {
    mount_attr attributes{};
    attributes.attr_set = change.set;
    attributes.attr_clr = change.clear;
    attributes.propagation = change.propagation;
    if (change.id_map >= 0) {
        attributes.attr_set |= MOUNT_ATTR_IDMAP;
        attributes.userns_fd = static_cast<std::uint64_t>(change.id_map);
    }
    // One of the three access time rules is a value, not a flag: to set one, clear them all.
    constexpr std::uint64_t access_time = MOUNT_ATTR__ATIME;
    if (((attributes.attr_set | attributes.attr_clr) & access_time) != 0) attributes.attr_clr |= access_time;

    unsigned flags = AT_EMPTY_PATH;
    if (recursion == Recursion::recursive) flags |= AT_RECURSIVE;
    if (::mount_setattr(mount, "", flags, &attributes, sizeof attributes) != 0) fail_errno("set the attributes of mount {}", name);
}

std::uint64_t filesystem_type(int fd) {
    struct statfs about{};
    if (::fstatfs(fd, &about) != 0) fail_errno("statfs");
    return static_cast<std::uint64_t>(about.f_type);
}

}  // namespace grua::linux
