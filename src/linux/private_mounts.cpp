#include "linux/private_mounts.hpp"

#include "base/error.hpp"
#include "base/thread.hpp"
#include "linux/mounts.hpp"
#include "linux/root.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

namespace grua::linux {

void in_private_mounts(const std::function<void()>& work) {
    in_thread([&] {
        if (::unshare(CLONE_FS | CLONE_NEWNS) != 0) fail_errno("unshare the mount namespace");
        if (::mount(nullptr, "/", nullptr, MS_PRIVATE | MS_REC, nullptr) != 0) fail_errno("make the mounts private");
        work();
    });
}

Fd copy_part(const Fd& mount, const std::string& place, const std::string& path) {
    Fd out;
    in_private_mounts([&] {
        const Fd folder{::open(place.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
        if (!folder) fail_errno("open folder {}", place);
        attach_mount(mount.get(), folder.get(), place);
        const Root root = Root::open(place.c_str());
        const Fd found = root.open_at(path, O_PATH);
        out = copy_mount(found.get(), "", Recursion::top_only);
        change_mount(out.get(), {.propagation = MS_PRIVATE}, Recursion::top_only, path);
    });
    return out;
}

}  // namespace grua::linux
