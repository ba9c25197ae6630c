#include "build/copy_file.hpp"

#include "build/tree_path.hpp"
#include "layers/entry_path.hpp"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <cstring>

namespace grua::build {
namespace {

constexpr off_t piece_size = off_t{16} << 20U;  // Between two looks at whether to stop.
constexpr std::size_t buffer_size = std::size_t{256} << 10U;
constexpr off_t block_size = 512;  // Of st_blocks.

/// Get and set are the calls for names and descriptors.
template <typename List, typename Get, typename Set>
void copy_each_xattr(List list, Get get, Set set) {
    thread_local std::vector<char> names(XATTR_LIST_MAX);
    thread_local std::vector<char> value(XATTR_SIZE_MAX);
    const ssize_t size = list(names.data(), names.size());
    for (ssize_t at = 0; at < size;) {
        const char* name = names.data() + at;
        at += static_cast<ssize_t>(std::strlen(name)) + 1;
        if (layers::is_overlay_xattr(name)) continue;
        const ssize_t length = get(name, value.data(), value.size());
        if (length < 0 || set(name, value.data(), static_cast<std::size_t>(length)) != 0) return;
    }
}

}  // namespace

void ContentCopier::copy(int from, int to, const struct stat& about, std::string_view path) {
    if (about.st_size <= 0) return;
    if (can_clone_ && clone(from, to, static_cast<std::uint64_t>(about.st_size))) return;
    if (about.st_blocks < about.st_size / block_size)
        copy_parts(from, to, about.st_size, path);
    else
        copy_range(from, to, 0, about.st_size, path);
}

bool ContentCopier::clone(int from, int to, std::uint64_t size) {
    if (::ioctl(to, FICLONE, from) == 0) {
        copied_(size);
        return true;
    }
    // What else may be wrong shows when it is copied.
    if (errno == EOPNOTSUPP || errno == ENOTTY || errno == ENOSYS || errno == EXDEV || errno == EINVAL || errno == EPERM)
        can_clone_ = false;
    return false;
}

void ContentCopier::copy_parts(int from, int to, off_t size, std::string_view path) {
    for (off_t at = 0; at < size;) {
        off_t data = ::lseek(from, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO) break;
        if (data < 0) data = at;
        off_t hole = ::lseek(from, data, SEEK_HOLE);
        if (hole < 0) hole = size;
        at = std::min(hole, size);
        if (data < at && !copy_range(from, to, data, at, path)) break;
    }
    if (::ftruncate(to, size) != 0) fail_path("truncate", path);
}

bool ContentCopier::copy_range(int from, int to, off_t at, off_t end, std::string_view path) {
    if (can_copy_in_kernel_) {
        at = copy_in_kernel(from, to, at, end, path);
        if (can_copy_in_kernel_) return at == end;
    }
    buffer_.resize(buffer_size);
    while (at < end) {
        const ssize_t got = ::pread(from, buffer_.data(), std::min<std::size_t>(buffer_.size(), static_cast<std::size_t>(end - at)), at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail_path("read", path);
        if (got == 0) return false;
        for (ssize_t done = 0; done < got;) {
            const ssize_t written = ::pwrite(to, buffer_.data() + done, static_cast<std::size_t>(got - done), at + done);
            if (written < 0 && errno != EINTR) fail_path("write", path);
            done += std::max<ssize_t>(written, 0);
        }
        at += got;
        copied_(static_cast<std::uint64_t>(got));
    }
    return true;
}

/// Up to where it came: to the end, or to where `from` ends by now.
off_t ContentCopier::copy_in_kernel(int from, int to, off_t at, off_t end, std::string_view path) {
    bool is_first = true;
    while (at < end) {
        off_t in = at;
        off_t out = at;
        const ssize_t count = ::copy_file_range(from, &in, to, &out, static_cast<std::size_t>(std::min(end - at, piece_size)), 0);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) {
            const int error = errno;
            const bool cannot =
                error == ENOSYS || error == EXDEV || error == EPERM || error == EIO || error == EOPNOTSUPP || error == EINVAL;
            if (!is_first || !cannot) fail_path("copy file range failed:", path, error);
            can_copy_in_kernel_ = false;
            return at;
        }
        if (count == 0) return at;
        is_first = false;
        at += count;
        copied_(static_cast<std::uint64_t>(count));
    }
    return at;
}

void copy_xattrs(int from, int to) {
    copy_each_xattr([&](char* names, std::size_t size) { return ::flistxattr(from, names, size); },
                    [&](const char* name, char* value, std::size_t size) { return ::fgetxattr(from, name, value, size); },
                    [&](const char* name, const char* value, std::size_t size) { return ::fsetxattr(to, name, value, size, 0); });
}

void copy_link_xattrs(const std::string& from, const std::string& to) {
    copy_each_xattr([&](char* names, std::size_t size) { return ::llistxattr(from.c_str(), names, size); },
                    [&](const char* name, char* value, std::size_t size) { return ::lgetxattr(from.c_str(), name, value, size); },
                    [&](const char* name, const char* value, std::size_t size) { return ::lsetxattr(to.c_str(), name, value, size, 0); });
}

}  // namespace grua::build
