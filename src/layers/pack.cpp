#include "layers/pack.hpp"

#include "base/error.hpp"
#include "base/log.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <climits>
#include <memory>

namespace grua::layers {
namespace {

constexpr std::size_t xattr_size_limit = 65536;  // the kernel's, for one value and for the list of names

std::string fd_path(int fd) { return fmt::format("/proc/self/fd/{}", fd); }

bool is_portable(std::string_view name) {
    // overlayfs' own mean nothing elsewhere; a label belongs to the policy of this host.
    return !name.starts_with("trusted.overlay.") && !name.starts_with("user.overlay.") && name != "security.selinux";
}

Fd pin(int directory, const std::string& leaf) { return Fd{::openat(directory, leaf.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)}; }

/// The parts of a file that have data, at most `limit`: the last then goes on to the end of the file.
std::vector<TarEntry::Segment> data_segments(int file, std::uint64_t size, std::size_t limit) {
    std::vector<TarEntry::Segment> out;
    std::uint64_t at = 0;
    while (at < size) {
        const off_t data = ::lseek(file, static_cast<off_t>(at), SEEK_DATA);
        if (data < 0) {
            if (errno == ENXIO) return out;  // only a hole is left
            return {{0, size}};              // a file system that knows no holes
        }
        const auto begin = static_cast<std::uint64_t>(data);
        if (begin >= size) return out;
        if (out.size() + 1 == limit) {
            out.push_back({begin, size - begin});
            return out;
        }
        const off_t hole = ::lseek(file, data, SEEK_HOLE);
        const std::uint64_t end = hole < 0 ? size : std::min(static_cast<std::uint64_t>(hole), size);
        if (end <= begin) return out;  // it shrank meanwhile
        out.push_back({begin, end - begin});
        at = end;
    }
    return out;
}

}  // namespace

std::vector<std::string> sorted_names(int folder) {
    const int copy = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (copy < 0) fail_errno("read a folder");
    const std::unique_ptr<DIR, int (*)(DIR*)> entries{::fdopendir(copy), ::closedir};
    if (!entries) fail_errno("read a folder");
    std::vector<std::string> out;
    for (;;) {
        errno = 0;
        const dirent* entry = ::readdir(entries.get());
        if (!entry && errno != 0) fail_errno("read a folder");
        if (!entry) break;
        const std::string_view name = entry->d_name;
        if (name != "." && name != "..") out.emplace_back(name);
    }
    std::ranges::sort(out);
    return out;
}

std::map<std::string, std::string> portable_xattrs(int pinned, const struct stat& status) {
    std::map<std::string, std::string> out;
    // A link's own cannot be reached through its descriptor, and it has none that a tar carries.
    if (S_ISLNK(status.st_mode)) return out;
    const std::string path = fd_path(pinned);
    std::array<char, 4096> few{};
    std::vector<char> many;
    char* names = few.data();
    ssize_t length = ::listxattr(path.c_str(), few.data(), few.size());
    if (length < 0 && errno == ERANGE) {
        many.resize(xattr_size_limit);
        names = many.data();
        length = ::listxattr(path.c_str(), many.data(), many.size());
    }
    if (length < 0) {
        if (errno == ENOTSUP || errno == ENOENT) return out;
        fail_errno("list xattrs");
    }
    for (const char* each = names; each < names + length; each += std::string_view(each).size() + 1) {
        if (!is_portable(each)) continue;
        std::string value(256, '\0');
        ssize_t size = ::getxattr(path.c_str(), each, value.data(), value.size());
        if (size < 0 && errno == ERANGE) {
            value.resize(xattr_size_limit);
            size = ::getxattr(path.c_str(), each, value.data(), value.size());
        }
        if (size < 0) {
            if (errno == ENODATA || errno == ENOTSUP) continue;  // gone meanwhile, or a name that only shows in lists
            fail_errno("read xattr {}", each);
        }
        value.resize(static_cast<std::size_t>(size));
        out.emplace(each, std::move(value));
    }
    return out;
}

std::string link_target(int pinned) {
    std::string text(PATH_MAX, '\0');
    const ssize_t length = ::readlinkat(pinned, "", text.data(), text.size());
    if (length < 0) fail_errno("read link");
    text.resize(static_cast<std::size_t>(length));
    return text;
}

Fd reopen(int pinned, int flags) {
    Fd out{::open(fd_path(pinned).c_str(), flags | O_CLOEXEC)};
    if (!out) fail_errno("open");
    return out;
}

void Packer::add_tree(int directory, const std::string& leaf, const std::string& name) {
    if (!add(directory, leaf, name, 0)) fail(ErrorKind::not_found, "{}: no such file or directory", leaf);
}

void Packer::add_contents(int folder, const std::string& prefix) { add_below(folder, prefix, 0); }

bool Packer::add(int directory, const std::string& leaf, const std::string& name, std::size_t depth) {
    const mode_t kind = write_entry(directory, leaf, name);
    if (kind != S_IFDIR) return kind != 0;
    const Fd folder{::openat(directory, leaf.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
    if (!folder) {
        if (errno == ENOTDIR || errno == ELOOP || errno == ENOENT) return true;
        fail_errno("open folder {}", name);
    }
    add_below(folder.get(), name.ends_with('/') ? name : name + "/", depth + 1);
    return true;
}

void Packer::add_below(int folder, const std::string& prefix, std::size_t depth) {
    if (depth > limits_.depth) fail(ErrorKind::invalid_argument, "more than {} folders deep", limits_.depth);
    std::vector<std::string> names;
    try {
        names = sorted_names(folder);
    } catch (const Error& error) {
        if (error.os_error() != ENOENT) throw;  // removed while it was open
    }
    for (const std::string& each : names) add(folder, each, prefix + each, depth);
}

bool Packer::add_entry(int directory, const std::string& leaf, const std::string& name) { return write_entry(directory, leaf, name) != 0; }

/// The file's kind; 0 where nothing was written.
mode_t Packer::write_entry(int directory, const std::string& leaf, const std::string& name) {
    const Fd pinned = pin(directory, leaf);
    if (!pinned) {
        if (errno == ENOENT) return 0;
        fail_errno("open {}", name);
    }
    struct stat status{};
    if (::fstat(pinned.get(), &status) != 0) fail_errno("stat {}", name);
    const mode_t kind = status.st_mode & S_IFMT;
    return while_doing(name, [&]() -> mode_t {
        using enum TarEntry::Type;
        TarEntry entry;
        entry.name = name;
        entry.mode = status.st_mode & 07777U;
        entry.uid = status.st_uid;
        entry.gid = status.st_gid;
        entry.mtime = status.st_mtim;
        if (!S_ISDIR(status.st_mode) && status.st_nlink > 1) {
            const auto [known, is_new] = links_.try_emplace({status.st_dev, status.st_ino}, Link{name, status.st_nlink - 1});
            if (!is_new) {
                entry.type = hard_link;
                entry.link = known->second.first;
                if (--known->second.others == 0) links_.erase(known);
                tar_.add(entry);
                return kind;
            }
        }
        switch (kind) {
            case S_IFREG:
                entry.xattrs = portable_xattrs(pinned.get(), status);
                add_file(pinned.get(), entry, status);
                return kind;
            case S_IFDIR:
                entry.type = TarEntry::Type::directory;
                break;
            case S_IFLNK:
                entry.type = symlink;
                entry.link = link_target(pinned.get());
                break;
            case S_IFCHR:
            case S_IFBLK:
                entry.type = S_ISCHR(status.st_mode) ? character_device : block_device;
                entry.device_major = ::gnu_dev_major(status.st_rdev);
                entry.device_minor = ::gnu_dev_minor(status.st_rdev);
                break;
            case S_IFIFO:
                entry.type = fifo;
                break;
            default:
                log::debug("{}: a socket is not packed", name);
                return 0;
        }
        entry.xattrs = portable_xattrs(pinned.get(), status);
        tar_.add(entry);
        return kind;
    });
}

void Packer::add_marker(const std::string& name, timespec mtime) {
    TarEntry entry;
    entry.name = name;
    entry.mtime = mtime;
    tar_.add(entry);
}

void Packer::add_file(int pinned, TarEntry& entry, const struct stat& status) {
    entry.type = TarEntry::Type::file;
    entry.size = static_cast<std::uint64_t>(status.st_size);
    if (entry.size == 0) return tar_.add(entry);
    // The pinned inode is a regular file: opening it can neither block nor do anything.
    // Only the owner may leave the time of access alone.
    const Fd file = reopen(pinned, O_RDONLY | (::geteuid() == 0 ? O_NOATIME : 0));
    const auto on_disk = static_cast<std::uint64_t>(status.st_blocks) * 512;
    if (on_disk + limits_.least_holes <= entry.size) {
        auto segments = data_segments(file.get(), entry.size, limits_.sparse_segments);
        std::uint64_t data = 0;
        for (const TarEntry::Segment& each : segments) data += each.size;
        if (data + limits_.least_holes <= entry.size) {
            entry.sparse = true;
            // GNU tar takes the end of the last segment for the end of the file.
            if (segments.empty() || segments.back().offset + segments.back().size < entry.size) segments.push_back({entry.size, 0});
            entry.segments = std::move(segments);
            tar_.add(entry);
            for (const TarEntry::Segment& each : entry.segments) copy(file.get(), each.offset, each.size);
            return;
        }
    }
    tar_.add(entry);
    copy(file.get(), 0, entry.size);
}

/// The header has said how much comes: a file that shrank meanwhile is filled up, one that grew is cut.
void Packer::copy(int file, std::uint64_t offset, std::uint64_t size) {
    while (size > 0) {
        const std::size_t wanted = std::min<std::uint64_t>(size, buffer_.size());
        ssize_t got = ::pread(file, buffer_.data(), wanted, static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail_errno("read");
        if (got == 0) {
            std::ranges::fill(buffer_, '\0');
            got = static_cast<ssize_t>(wanted);
        }
        tar_.write({buffer_.data(), static_cast<std::size_t>(got)});
        offset += static_cast<std::uint64_t>(got);
        size -= static_cast<std::uint64_t>(got);
    }
}

}  // namespace grua::layers
