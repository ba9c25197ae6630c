#include "store/reserve.hpp"

#include "base/fd.hpp"
#include "base/log.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <system_error>

namespace grua::store {
namespace {

constexpr std::uint64_t smallest = std::uint64_t{64} << 10U;

/// On the file system of `path`'s folder, for whoever is root.
std::uint64_t free_bytes(const std::string& path) noexcept {
    const std::size_t slash = path.rfind('/');
    struct statvfs space{};
    if (::statvfs(slash == std::string::npos ? "." : path.substr(0, slash + 1).c_str(), &space) != 0) return UINT64_MAX;
    return static_cast<std::uint64_t>(space.f_bfree) * space.f_frsize;
}

}  // namespace

bool Reserve::is_needed() const noexcept { return free_bytes(path_) < size; }

bool Reserve::release() noexcept { return ::unlink(path_.c_str()) == 0; }

void Reserve::fill() noexcept {
    // Never more than half of what is free: on a disk that is nearly full the rest is for those who are at work.
    const std::uint64_t amount = std::min(size, free_bytes(path_) / 2) / smallest * smallest;
    struct stat status{};
    if (::stat(path_.c_str(), &status) == 0 && static_cast<std::uint64_t>(status.st_size) >= amount) return;
    if (amount == 0) return;
    const Fd file{::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
    // Some file systems cannot promise room; there it is not kept.
    if (file && ::fallocate(file.get(), 0, 0, static_cast<off_t>(amount)) == 0) return;
    const int error = errno;
    ::unlink(path_.c_str());
    if (error != EOPNOTSUPP && error != ENOSPC && error != EDQUOT)
        log::warn("{}: no room is kept for a full disk: {}", path_, std::generic_category().message(error));
}

}  // namespace grua::store
