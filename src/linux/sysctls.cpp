#include "linux/sysctls.hpp"

#include "base/error.hpp"
#include "linux/mounts.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace grua::linux {

Sysctls::Sysctls() : Sysctls(make_filesystem("proc", "proc", {}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)) {}

Sysctls::Sysctls(Fd proc) : proc_(std::move(proc)) {
    if (filesystem_type(proc_.get()) != proc_magic) fail(ErrorKind::system, "the private proc mount is not proc");
}

bool Sysctls::has(const std::string& path) const { return ::faccessat(proc_.get(), ("sys/" + path).c_str(), F_OK, 0) == 0; }

void Sysctls::write(const std::string& path, std::string_view value) const {
    open_how how{};
    how.flags = O_WRONLY | O_CLOEXEC;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
    const Fd fd{static_cast<int>(::syscall(SYS_openat2, proc_.get(), ("sys/" + path).c_str(), &how, sizeof how))};
    if (!fd && errno == ENOENT) fail(ErrorKind::invalid_argument, "sysctl {}: this kernel does not have it", path);
    if (!fd) fail_errno("open sysctl {}", path);
    if (::write(fd.get(), value.data(), value.size()) < 0) fail_errno("write {:?} to sysctl {}", value, path);
}

}  // namespace grua::linux
