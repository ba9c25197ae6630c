#include "engine/lifecycle/given_mounts.hpp"

#include "base/thread.hpp"
#include "linux/mounts.hpp"
#include "linux/private_mounts.hpp"
#include "linux/root.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

namespace grua::engine {

Fd mount_image(Roots& roots, const Options& options, const MountDetail& detail) {
    Fd mount = while_doing(fmt::format("image {}", detail.image_id), [&] { return roots.mount_layers(detail.chain); });
    if (detail.subpath.empty()) return mount;
    try {
        return linux::copy_part(mount, options.exec_root + "/view", detail.subpath);
    } catch (const Error& error) {
        throw Error(ErrorKind::invalid_argument,
                    fmt::format("cannot access path {} of image {}: {}", detail.subpath, detail.image_id, error.what()));
    }
}

Fd shared_memory_of(const Fd& pidfd) {
    Fd out;
    in_thread([&] {
        if (::unshare(CLONE_FS) != 0) fail_errno("unshare the working folder");
        if (::setns(pidfd.get(), CLONE_NEWNS) != 0) fail(ErrorKind::conflict, "the container has just ended");
        const auto found = Root::open("/").find_at("/dev/shm", O_PATH | O_DIRECTORY);
        // What is below it would be somebody's file that has come there by a mount of its own.
        if (!found || linux::filesystem_type(found->get()) != linux::tmpfs_magic) fail(ErrorKind::conflict, "it has no /dev/shm");
        out = linux::copy_mount(found->get(), "", linux::Recursion::top_only);
        linux::change_mount(out.get(), {.propagation = MS_PRIVATE}, linux::Recursion::top_only, "/dev/shm");
    });
    return out;
}

Roots::Hold hold_images(Roots& roots, const ContainerRecord& record) {
    auto all = std::make_shared<std::vector<Roots::Hold>>();
    for (const auto& [destination, detail] : record.mount_details)
        if (!detail.chain.empty()) all->push_back(roots.hold_layers(detail.chain));
    return all;
}

}  // namespace grua::engine
