#include "volumes/copy.hpp"

#include "base/error.hpp"
#include "linux/root.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace grua::volumes {
namespace {

constexpr int depth_limit = 256;

struct Copy {
    Root target;
    std::map<std::pair<dev_t, ino_t>, std::string> links;  // first name of a file that has several, below the target
};

std::string fd_path(int fd) { return fmt::format("/proc/self/fd/{}", fd); }

void copy_xattrs(int from, int to) {
    const std::string source = fd_path(from);
    const std::string target = fd_path(to);
    std::vector<char> names(65536);
    const ssize_t length = ::listxattr(source.c_str(), names.data(), names.size());
    if (length <= 0) return;
    std::vector<char> value(65536);
    for (const char* name = names.data(); name < names.data() + length; name += std::string_view(name).size() + 1) {
        if (std::string_view(name).starts_with("trusted.overlay.")) continue;
        const ssize_t size = ::getxattr(source.c_str(), name, value.data(), value.size());
        if (size < 0) continue;  // Gone or not ours to read.
        if (::setxattr(target.c_str(), name, value.data(), static_cast<std::size_t>(size), 0) != 0 && errno != ENOTSUP && errno != EPERM)
            fail_errno("set attribute {}", name);
    }
}

/// Owner before mode: chown clears the set-user-ID bit.
void copy_attributes(int from, int to, const struct stat& status) {
    const std::string target = fd_path(to);
    if (::fchownat(to, "", status.st_uid, status.st_gid, AT_EMPTY_PATH) != 0) fail_errno("change owner");
    copy_xattrs(from, to);
    if (::chmod(target.c_str(), status.st_mode & 07777U) != 0) fail_errno("change mode");
    const std::array times{status.st_atim, status.st_mtim};
    if (::utimensat(AT_FDCWD, target.c_str(), times.data(), 0) != 0) fail_errno("set times");
}

void copy_data(int from, int to, const struct stat& status) {
    off_t at = 0;
    while (at < status.st_size) {
        const off_t data = ::lseek(from, at, SEEK_DATA);
        if (data < 0) break;  // Only a hole is left.
        off_t end = ::lseek(from, data, SEEK_HOLE);
        if (end < 0) end = status.st_size;
        off_t in = data;
        off_t out = data;
        while (in < end) {
            const ssize_t count = ::copy_file_range(from, &in, to, &out, static_cast<std::size_t>(end - in), 0);
            if (count == 0) break;
            if (count > 0) continue;
            if (errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) fail_errno("copy data");
            std::array<char, 65536> buffer{};
            const ssize_t got = ::pread(from, buffer.data(), std::min<std::size_t>(buffer.size(), static_cast<std::size_t>(end - in)), in);
            if (got < 0) fail_errno("read");
            if (got == 0) break;
            if (::pwrite(to, buffer.data(), static_cast<std::size_t>(got), out) != got) fail_errno("write");
            in += got;
            out += got;
        }
        at = end;
    }
    if (::ftruncate(to, status.st_size) != 0) fail_errno("set size");
}

void copy_folder(Copy& copy, int from, int to, const std::string& path, int depth);

void copy_entry(Copy& copy, int from, int to, const char* name, const std::string& path, int depth) {
    const Fd entry{::openat(from, name, O_PATH | O_NOFOLLOW | O_CLOEXEC)};
    if (!entry) fail_errno("open");
    struct stat status{};
    if (::fstat(entry.get(), &status) != 0) fail_errno("stat");
    if (S_ISDIR(status.st_mode)) {
        if (::mkdirat(to, name, 0700) != 0) fail_errno("make folder");
        const Fd source{::openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
        const Fd made{::openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
        if (!source || !made) fail_errno("open folder");
        copy_folder(copy, source.get(), made.get(), path, depth + 1);
        copy_attributes(source.get(), made.get(), status);
        return;
    }
    if (status.st_nlink > 1) {
        const auto [known, is_new] = copy.links.try_emplace({status.st_dev, status.st_ino}, path);
        if (!is_new) {
            const Fd first = copy.target.open_at(known->second, O_PATH | O_NOFOLLOW);
            if (::linkat(AT_FDCWD, fd_path(first.get()).c_str(), to, name, AT_SYMLINK_FOLLOW) != 0) fail_errno("link");
            return;
        }
    }
    if (S_ISREG(status.st_mode)) {
        const Fd source{::openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)};
        const Fd made{::openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
        if (!source || !made) fail_errno("open");
        copy_data(source.get(), made.get(), status);
        copy_attributes(source.get(), made.get(), status);
    } else if (S_ISLNK(status.st_mode)) {
        std::array<char, 4097> text{};
        const ssize_t length = ::readlinkat(entry.get(), "", text.data(), text.size() - 1);
        if (length < 0) fail_errno("read link");
        if (::symlinkat(text.data(), to, name) != 0) fail_errno("make link");
        if (::fchownat(to, name, status.st_uid, status.st_gid, AT_SYMLINK_NOFOLLOW) != 0) fail_errno("change owner");
        const std::array times{status.st_atim, status.st_mtim};
        if (::utimensat(to, name, times.data(), AT_SYMLINK_NOFOLLOW) != 0) fail_errno("set times");
    } else {
        if (::mknodat(to, name, (status.st_mode & S_IFMT) | 0600U, status.st_rdev) != 0) fail_errno("make node");
        const Fd made{::openat(to, name, O_PATH | O_NOFOLLOW | O_CLOEXEC)};
        if (!made) fail_errno("open");
        copy_attributes(entry.get(), made.get(), status);
    }
}

void copy_folder(Copy& copy, int from, int to, const std::string& path, int depth) {
    if (depth > depth_limit) fail(ErrorKind::invalid_argument, "{}: more than {} folders deep", path, depth_limit);
    const int own = ::fcntl(from, F_DUPFD_CLOEXEC, 0);
    if (own < 0) fail_errno("duplicate");
    const std::unique_ptr<DIR, int (*)(DIR*)> folder{::fdopendir(own), ::closedir};
    if (!folder) fail_errno("read folder");
    while (const dirent* entry = ::readdir(folder.get())) {
        const std::string_view name = entry->d_name;
        if (name == "." || name == "..") continue;
        const std::string below = path + "/" + std::string(name);
        while_doing(below, [&] { copy_entry(copy, from, to, entry->d_name, below, depth); });
    }
}

}  // namespace

bool copy_tree(int source_root, std::string_view source_path, const char* target) {
    const Root root = Root::open(fd_path(source_root).c_str());
    Fd source;
    try {
        source = root.open_at(source_path, O_RDONLY | O_DIRECTORY);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::not_found || error.os_error() == ENOTDIR || error.os_error() == ENOENT) return false;
        throw;
    }
    struct stat status{};
    if (::fstat(source.get(), &status) != 0) fail_errno("stat {}", source_path);
    Copy copy{.target = Root::open(target), .links = {}};
    copy_folder(copy, source.get(), copy.target.fd(), "", 0);
    const Fd folder{::open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!folder) fail_errno("open {}", target);
    copy_attributes(source.get(), folder.get(), status);
    return true;
}

}  // namespace grua::volumes
