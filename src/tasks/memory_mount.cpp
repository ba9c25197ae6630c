#include "base/files.hpp"
#include "linux/mounts.hpp"
#include "tasks/task.hpp"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/stat.h>
#include <unistd.h>

namespace grua::tasks {

Fd memory_mount(const std::vector<MemoryFile>& files) {
    Fd mount = linux::make_filesystem("tmpfs", "memory", {"mode=0755"}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    for (const MemoryFile& each : files) {
        if (each.name.empty() || each.name.contains('/') || each.name == "." || each.name == "..")
            fail(ErrorKind::invalid_argument, "{:?} is no name of a file", each.name);
        const Fd file{::openat(mount.get(), each.name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
        if (!file) fail_errno("make {} in memory", each.name);
        write_all(file.get(), each.content, each.name);
        if (::fchown(file.get(), each.user, each.group) != 0 || ::fchmod(file.get(), each.mode & 07777U) != 0)
            fail_errno("give {} its owner", each.name);
    }
    linux::change_mount(mount.get(), {.set = MOUNT_ATTR_RDONLY}, linux::Recursion::top_only, "memory");
    return mount;
}

}  // namespace grua::tasks
