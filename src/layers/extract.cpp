#include "layers/extract.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/text.hpp"
#include "layers/entry_path.hpp"
#include "layers/folder_times.hpp"
#include "layers/tree.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <array>

namespace grua::layers {
namespace {

using Type = TarEntry::Type;

constexpr int create_tries = 8;

std::string fd_path(int fd) { return fmt::format("/proc/self/fd/{}", fd); }

mode_t kind_of(Type type) {
    switch (type) {
        case Type::character_device:
            return S_IFCHR;
        case Type::block_device:
            return S_IFBLK;
        case Type::fifo:
            return S_IFIFO;
        case Type::directory:
            return S_IFDIR;
        case Type::symlink:
            return S_IFLNK;
        default:
            return S_IFREG;
    }
}

class Extractor {
public:
    Extractor(TarReader& tar, const Root& root, std::string_view folder, const ExtractOptions& options)
        : tar_(tar), root_(root), folder_(folder), options_(options) {
        while (folder_.ends_with('/')) folder_.pop_back();
    }

    void run() {
        while (std::optional<TarEntry> entry = tar_.next()) {
            if (options_.rename) entry->name = options_.rename(entry->name);
            if (options_.rename && entry->type == Type::hard_link) entry->link = options_.rename(entry->link);
            try {
                add(*entry);
            } catch (Error& error) {
                if (!says_all_) error.add_context(entry->name.substr(0, 200));
                throw;
            }
        }
        folder_times_.leave(parent_.get());
        folder_times_.apply();
    }

private:
    const std::string& shown() const { return options_.shown.empty() ? folder_ : options_.shown; }
    std::string below(const std::string& path) const { return path.empty() ? folder_ + "/" : folder_ + "/" + path; }

    void set_folder_time(const std::string& path, const timespec& time) {
        try {
            const Fd folder = root_.open_at(below(path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
            const std::array times{time, time};
            ::futimens(folder.get(), times.data());
        } catch (const Error&) {
            // Whoever took it away does not miss its time.
        }
    }

    /// Kept open for the next entry, which is mostly a neighbour. Links on the way are followed as the tree's owner sees them.
    int parent(const std::string& path) {
        if (!parent_ || parent_path_ != path) {
            folder_times_.leave(parent_.get());
            parent_ = make_parents(root_, below(path));
            parent_path_ = path;
            folder_times_.enter(parent_.get());
        }
        return parent_.get();
    }
    void forget_parent() { parent_ = Fd{}; }

    void add(const TarEntry& entry) {
        const std::string path = clean_entry(entry.name);
        if (path.empty()) return;
        const auto [folder, leaf] = split_leaf(path);
        const int directory = parent(folder);
        struct stat old{};
        bool exists = ::fstatat(directory, leaf.c_str(), &old, AT_SYMLINK_NOFOLLOW) == 0;
        const bool was_folder = exists && S_ISDIR(old.st_mode);
        const bool is_folder = entry.type == Type::directory;
        says_all_ = exists && options_.keep_kinds && was_folder != is_folder;
        if (says_all_ && was_folder)
            fail(ErrorKind::invalid_argument, "cannot overwrite directory \"{}\" with non-directory \"{}\"", path, shown());
        if (says_all_) fail(ErrorKind::invalid_argument, "cannot overwrite non-directory \"{}\" with directory \"{}\"", path, shown());
        if (entry.type == Type::hard_link && is_same_file(directory, leaf, entry)) return;
        if (exists && !(was_folder && is_folder)) {
            // Something is mounted on it, as on /etc/hosts: its content is what can be replaced.
            if (!remove(directory, leaf)) {
                if (entry.type != Type::file || !S_ISREG(old.st_mode)) fail_errno("replace");
                return overwrite(directory, leaf, entry);
            }
            if (was_folder) forget_parent();
            exists = false;
        }
        make(was_folder ? parent(folder) : directory, leaf, path, entry, exists);
    }

    /// False where it is a mount point.
    static bool remove(int directory, const std::string& leaf) {
        try {
            remove_tree(directory, leaf);
            return true;
        } catch (const Error& error) {
            if (error.os_error() != EBUSY) throw;
            errno = EBUSY;
            return false;
        }
    }

    /// Who makes the same file at this moment, another copy or the container, is replaced like what was there before.
    static Fd create(int directory, const std::string& leaf) {
        for (int tries = 0;; ++tries) {
            Fd file{::openat(directory, leaf.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
            if (file) return file;
            const bool again = errno == EEXIST && tries < create_tries;
            if (!again || (::unlinkat(directory, leaf.c_str(), 0) != 0 && errno != ENOENT)) fail_errno("create");
        }
    }

    void make(int directory, const std::string& leaf, const std::string& path, const TarEntry& entry, bool exists) {
        switch (entry.type) {
            case Type::file: {
                const Fd file = create(directory, leaf);
                try {
                    write(file.get(), entry);
                    return set_attributes(file.get(), entry);
                } catch (const Error&) {
                    // A half would fill the disk that was too small for the whole; what took its place meanwhile stays.
                    struct stat ours{};
                    struct stat now{};
                    const bool is_ours = ::fstat(file.get(), &ours) == 0 &&
                                         ::fstatat(directory, leaf.c_str(), &now, AT_SYMLINK_NOFOLLOW) == 0 && ours.st_ino == now.st_ino &&
                                         ours.st_dev == now.st_dev;
                    if (is_ours) ::unlinkat(directory, leaf.c_str(), 0);
                    throw;
                }
            }
            case Type::directory: {
                if (!exists && ::mkdirat(directory, leaf.c_str(), 0700) != 0 && errno != EEXIST) fail_errno("create");
                const Fd folder{::openat(directory, leaf.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
                if (!folder) fail_errno("open");
                set_attributes(folder.get(), entry);
                if (folder_times_.add(path, entry.mtime)) folder_times_.enter(parent_.get());
                return;
            }
            case Type::hard_link:
                return link(directory, leaf, entry);
            case Type::symlink:
                if (::symlinkat(entry.link.c_str(), directory, leaf.c_str()) != 0) fail_errno("create");
                break;
            default:
                if (::mknodat(directory, leaf.c_str(), kind_of(entry.type) | 0600U,
                              ::gnu_dev_makedev(entry.device_major, entry.device_minor)) != 0)
                    fail_errno("create");
        }
        const Fd made{::openat(directory, leaf.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)};
        struct stat status{};
        if (!made || ::fstat(made.get(), &status) != 0) fail_errno("open");
        if ((status.st_mode & S_IFMT) != kind_of(entry.type)) fail(ErrorKind::conflict, "it was replaced while it was made");
        set_attributes(made.get(), entry);
    }

    void overwrite(int directory, const std::string& leaf, const TarEntry& entry) {
        const Fd pinned{::openat(directory, leaf.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)};
        struct stat status{};
        if (!pinned || ::fstat(pinned.get(), &status) != 0) fail_errno("open");
        if (!S_ISREG(status.st_mode)) fail(ErrorKind::conflict, "it was replaced meanwhile");
        const Fd file{::open(fd_path(pinned.get()).c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC)};
        if (!file) fail_errno("open");
        write(file.get(), entry);
        set_attributes(file.get(), entry);
    }

    void write(int file, const TarEntry& entry) {
        if (!entry.sparse) return copy(file, entry.size);
        if (::ftruncate(file, static_cast<off_t>(entry.size)) != 0) fail_errno("set size");
        for (const TarEntry::Segment& segment : entry.segments) {
            if (::lseek(file, static_cast<off_t>(segment.offset), SEEK_SET) < 0) fail_errno("seek");
            copy(file, segment.size);
        }
    }

    void copy(int file, std::uint64_t left) {
        while (left > 0) {
            const std::size_t count = tar_.read(std::span(buffer_).first(std::min<std::uint64_t>(left, buffer_.size())));
            if (count == 0) fail(ErrorKind::invalid_argument, "unexpected end of data");
            write_all(file, {buffer_.data(), count}, "file");
            left -= count;
        }
    }

    /// The folder that holds a hard link's target, and its name in it.
    std::pair<Fd, std::string> target_of(const TarEntry& entry) const {
        const auto [folder, name] = split_leaf(clean_entry(entry.link));
        if (name.empty()) fail(ErrorKind::invalid_argument, "hard link to the folder itself");
        return {root_.open_at(below(folder), O_PATH | O_DIRECTORY), name};
    }

    bool is_same_file(int directory, const std::string& leaf, const TarEntry& entry) const {
        const auto [from, name] = target_of(entry);
        struct stat source{};
        struct stat old{};
        if (::fstatat(from.get(), name.c_str(), &source, AT_SYMLINK_NOFOLLOW) != 0) fail_errno("hard link to {}", entry.link);
        return ::fstatat(directory, leaf.c_str(), &old, AT_SYMLINK_NOFOLLOW) == 0 && old.st_dev == source.st_dev &&
               old.st_ino == source.st_ino;
    }

    void link(int directory, const std::string& leaf, const TarEntry& entry) const {
        const auto [from, name] = target_of(entry);
        // Without AT_SYMLINK_FOLLOW a link is linked itself, never what it names.
        if (::linkat(from.get(), name.c_str(), directory, leaf.c_str(), 0) != 0) fail_errno("hard link to {}", entry.link);
    }

    /// `made` is what was just made; O_PATH for what cannot be opened. The owner first: changing it clears setuid and capabilities.
    void set_attributes(int made, const TarEntry& entry) {
        const std::string name = fd_path(made);
        const bool symlink = entry.type == Type::symlink;
        if (options_.ownership == Ownership::as_in_tar) {
            const auto [uid, gid] = options_.owner.value_or(std::pair{entry.uid, entry.gid});
            if (::fchownat(made, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0) fail_errno("change owner");
        }
        // Through the descriptor's magic link: it leads to the inode, not to a name. A link's own mode means nothing.
        if (!symlink && ::chmod(name.c_str(), entry.mode) != 0) fail_errno("change mode");
        if (!symlink) {
            for (const auto& [key, value] : entry.xattrs) {
                if (is_overlay_xattr(key)) continue;
                const bool set = ::setxattr(name.c_str(), key.c_str(), value.data(), value.size(), 0) == 0;
                if (!set && errno != ENOTSUP && errno != EPERM) fail_errno("set xattr {}", key);
            }
        }
        if (entry.type == Type::directory) return;
        const std::array times{entry.mtime, entry.mtime};
        if (::utimensat(made, "", times.data(), AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) == 0) return;
        if (errno != EINVAL && errno != ENOENT) fail_errno("set time");
        // Before Linux 5.8 the empty path was not taken.
        if (!symlink && ::utimensat(AT_FDCWD, name.c_str(), times.data(), 0) != 0) fail_errno("set time");
    }

    TarReader& tar_;
    const Root& root_;
    std::string folder_;
    const ExtractOptions& options_;
    Fd parent_;
    std::string parent_path_;
    bool says_all_ = false;  // an error's text is complete: it is Docker's
    FolderTimes folder_times_{[this](const std::string& path, const timespec& time) { set_folder_time(path, time); }};
    std::vector<char> buffer_ = std::vector<char>(std::size_t{256} << 10U);
};

}  // namespace

void extract_tar(TarReader& tar, const Root& root, std::string_view folder, const ExtractOptions& options) {
    Extractor{tar, root, folder, options}.run();
}

}  // namespace grua::layers
