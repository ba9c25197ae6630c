#include "linux/project_quota.hpp"

#include "base/error.hpp"
#include "base/fd.hpp"

#include <fcntl.h>
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/quota.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <random>

namespace grua::linux {
namespace {

constexpr int project_quota = 2;  // PRJQUOTA
constexpr std::uint64_t block = 512;
// Above what people write into /etc/projid by hand.
constexpr std::uint32_t first_project = 0x40000000;
constexpr std::uint32_t last_project = 0x7ffffffe;
constexpr int most_tries = 100;

int command(int what) { return static_cast<int>((static_cast<unsigned>(what) << 8U) | static_cast<unsigned>(project_quota)); }

long quotactl_fd(int fd, int what, std::uint32_t id, void* data) { return ::syscall(SYS_quotactl_fd, fd, command(what), id, data); }

Fd open_folder(const std::string& folder) {
    Fd out{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
    if (!out) fail_errno("open {}", folder);
    return out;
}

bool is_free(int fd, std::uint32_t id) {
    fs_disk_quota found{};
    if (quotactl_fd(fd, Q_XGETQUOTA, id, &found) != 0) return errno == ENOENT || errno == ESRCH;
    return found.d_bcount == 0 && found.d_icount == 0 && found.d_blk_hardlimit == 0;
}

void set_limit(int fd, std::uint32_t id, std::uint64_t bytes) {
    fs_disk_quota limit{};
    limit.d_version = FS_DQUOT_VERSION;
    limit.d_id = id;
    limit.d_flags = FS_PROJ_QUOTA;
    limit.d_fieldmask = FS_DQ_BHARD | FS_DQ_BSOFT;
    limit.d_blk_hardlimit = limit.d_blk_softlimit = (bytes + block - 1) / block;
    if (quotactl_fd(fd, Q_XSETQLIM, id, &limit) != 0) fail_errno("set the limit of project {}", id);
}

fsxattr attributes_of(int fd, const std::string& folder) {
    fsxattr out{};
    if (::ioctl(fd, FS_IOC_FSGETXATTR, &out) != 0) fail_errno("read the project of {}", folder);
    return out;
}

}  // namespace

bool has_project_quota(const std::string& folder) noexcept {
    const Fd fd{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    fs_quota_stat state{};
    state.qs_version = FS_QSTAT_VERSION;
    return fd && quotactl_fd(fd.get(), Q_XGETQSTAT, 0, &state) == 0 && (state.qs_flags & FS_QUOTA_PDQ_ENFD) != 0;
}

void bound_folder(const std::string& folder, std::uint64_t bytes) {
    const Fd fd = open_folder(folder);
    std::random_device random;
    std::uniform_int_distribution<std::uint32_t> any(first_project, last_project);
    std::uint32_t id = any(random);
    for (int tries = 0; !is_free(fd.get(), id); ++tries) {
        if (tries == most_tries) fail(ErrorKind::system, "{}: no free project is found", folder);
        id = any(random);
    }
    set_limit(fd.get(), id, bytes);
    fsxattr attributes = attributes_of(fd.get(), folder);
    attributes.fsx_projid = id;
    attributes.fsx_xflags |= FS_XFLAG_PROJINHERIT;
    if (::ioctl(fd.get(), FS_IOC_FSSETXATTR, &attributes) != 0) {
        const int error = errno;
        set_limit(fd.get(), id, 0);
        errno = error;
        fail_errno("set the project of {}", folder);
    }
}

std::optional<std::uint64_t> bound_of(const std::string& folder) {
    const Fd fd = open_folder(folder);
    fsxattr attributes{};
    if (::ioctl(fd.get(), FS_IOC_FSGETXATTR, &attributes) != 0 || attributes.fsx_projid < first_project) return std::nullopt;
    fs_disk_quota found{};
    if (quotactl_fd(fd.get(), Q_XGETQUOTA, attributes.fsx_projid, &found) != 0 || found.d_blk_hardlimit == 0) return std::nullopt;
    return found.d_blk_hardlimit * block;
}

void unbound_folder(const std::string& folder) {
    const Fd fd{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
    if (!fd) return;  // It is gone, and nothing counts for it.
    fsxattr attributes{};
    // Of a file system that knows no projects, or of a folder that has none.
    if (::ioctl(fd.get(), FS_IOC_FSGETXATTR, &attributes) != 0 || attributes.fsx_projid < first_project) return;
    set_limit(fd.get(), attributes.fsx_projid, 0);
}

}  // namespace grua::linux
