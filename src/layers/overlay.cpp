#include "layers/overlay.hpp"

#include "base/error.hpp"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace grua::layers {
namespace {

void configure(int context, unsigned command, const char* key, const char* value) {
    if (::syscall(SYS_fsconfig, context, command, key, value, 0) == 0) return;
    const int error = errno;
    // Before Linux 6.8 there is no lowerdir+.
    if (error == EINVAL && key && std::string_view(key) == "lowerdir+") {
        throw Error(ErrorKind::not_implemented, "not implemented: overlay mounts on kernels older than 6.8 (no lowerdir+)", error);
    }
    errno = error;
    fail_errno("overlay: {} {}", key ? key : "mount", value ? value : "");
}

}  // namespace

Fd mount_overlay(const Overlay& overlay) {
    const Fd context{static_cast<int>(::syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC))};
    if (!context) fail_errno("overlay: fsopen");
    const int fd = context.get();
    configure(fd, FSCONFIG_SET_STRING, "source", "overlay");
    // One option for each layer: no page's worth of text bounds their number.
    for (const std::string& each : overlay.lower) configure(fd, FSCONFIG_SET_STRING, "lowerdir+", each.c_str());
    if (!overlay.upper.empty()) {
        configure(fd, FSCONFIG_SET_STRING, "upperdir", overlay.upper.c_str());
        configure(fd, FSCONFIG_SET_STRING, "workdir", overlay.work.c_str());
        if (overlay.omit_syncs) configure(fd, FSCONFIG_SET_FLAG, "volatile", nullptr);
    }
    // index would refuse an upper that is still mounted somewhere; metacopy would follow what a layer claims.
    configure(fd, FSCONFIG_SET_STRING, "index", "off");
    configure(fd, FSCONFIG_SET_STRING, "metacopy", "off");
    configure(fd, FSCONFIG_CMD_CREATE, nullptr, nullptr);
    const unsigned attributes = overlay.read_only ? MOUNT_ATTR_RDONLY : 0U;
    Fd mount{static_cast<int>(::syscall(SYS_fsmount, fd, FSMOUNT_CLOEXEC, attributes))};
    if (!mount) fail_errno("overlay: fsmount");
    return mount;
}

}  // namespace grua::layers
