#include "layers/unpack.hpp"

#include "base/error.hpp"
#include "base/fault_point.hpp"
#include "base/files.hpp"
#include "base/test_points.hpp"
#include "base/text.hpp"
#include "layers/entry_path.hpp"
#include "layers/folder_times.hpp"
#include "layers/tree.hpp"
#include "linux/root.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <array>

namespace grua::layers {
namespace {

class Unpacker {
public:
    Unpacker(TarReader& tar, const std::string& directory) : tar_(tar), root_(Root::open(directory.c_str())) {}

    std::uint64_t run() {
        while (const std::optional<TarEntry> entry = tar_.next()) {
            while_doing(entry->name.empty() ? "entry without a name" : entry->name.substr(0, 200), [&] { add(*entry); });
        }
        folder_times_.leave(parent_.get());
        folder_times_.apply();
        return size_;
    }

private:
    /// Long after the folder was made: a link may be in the way by now, which leads as the layer's own root shows it.
    void set_folder_time(const std::string& path, const timespec& time) const {
        const std::array times{time, time};
        if (is_left_out("folder-times")) {
            const Fd folder{::openat(root_.fd(), path.empty() ? "." : path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
            if (folder) ::futimens(folder.get(), times.data());
            return;
        }
        const std::optional<Fd> folder = root_.find_at(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        if (folder) ::futimens(folder->get(), times.data());
    }

    /// Links in the way stay inside the layer; kept open for the next entry, which is mostly a neighbour.
    int parent(const std::string& path) {
        if (!parent_ || parent_path_ != path) {
            folder_times_.leave(parent_.get());
            parent_ = make_parents(root_, path);
            parent_path_ = path;
            folder_times_.enter(parent_.get());
        }
        return parent_.get();
    }

    void add(const TarEntry& entry) {
        const std::string path = clean_entry(entry.name);
        if (path.empty()) {
            if (entry.type != TarEntry::Type::directory) fail(ErrorKind::invalid_argument, "only a folder can be the root");
            return set_attributes(root_.fd(), ".", path, entry);
        }
        const auto [folder, leaf] = split_leaf(path);
        const int directory = parent(folder);
        if (leaf == opaque_name) return set_opaque(directory, ".");
        if (leaf.starts_with(whiteout_prefix)) return whiteout(directory, leaf.substr(whiteout_prefix.size()));
        make(directory, leaf, path, entry);
    }

    void whiteout(int directory, const std::string& name) {
        if (name.empty() || name == "." || name == "..") fail(ErrorKind::invalid_argument, "invalid whiteout");
        if (name.starts_with(whiteout_prefix)) return;  // aufs' own files
        if (::mknodat(directory, name.c_str(), S_IFCHR, 0) == 0) return;
        if (errno != EEXIST) fail_errno("whiteout");
        // It hides what lies below, not what this layer has itself.
        struct stat status{};
        if (::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode)) set_opaque(directory, name);
    }

    static std::string through(int directory, const std::string& leaf) { return fmt::format("/proc/self/fd/{}/{}", directory, leaf); }

    static void set_opaque(int directory, const std::string& leaf) {
        if (::lsetxattr(through(directory, leaf).c_str(), opaque_xattr, "y", 1, 0) != 0) fail_errno("mark the folder opaque");
    }

    void make(int directory, const std::string& leaf, const std::string& path, const TarEntry& entry) {
        using Type = TarEntry::Type;
        struct stat old{};
        const bool exists = ::fstatat(directory, leaf.c_str(), &old, AT_SYMLINK_NOFOLLOW) == 0;
        const bool was_whiteout = exists && S_ISCHR(old.st_mode) && old.st_rdev == 0;
        const bool keep = exists && S_ISDIR(old.st_mode) && entry.type == Type::directory;
        if (entry.type == Type::hard_link) return link(directory, leaf, entry);
        if (exists && !keep) {
            remove_tree(directory, leaf);
            // The kept parent may have been below it.
            if (S_ISDIR(old.st_mode)) parent_path_ = "\x01";
        }
        int made = 0;
        switch (entry.type) {
            case Type::file:
                write(directory, leaf, entry);
                break;
            case Type::directory:
                if (!keep) made = ::mkdirat(directory, leaf.c_str(), 0700);
                break;
            case Type::symlink:
                made = ::symlinkat(entry.link.c_str(), directory, leaf.c_str());
                break;
            case Type::fifo:
                made = ::mknodat(directory, leaf.c_str(), S_IFIFO | 0600, 0);
                break;
            default:
                made = ::mknodat(directory, leaf.c_str(), (entry.type == Type::block_device ? S_IFBLK : S_IFCHR) | 0600,
                                 ::makedev(entry.device_major, entry.device_minor));
        }
        if (made != 0) fail_errno("create");
        set_attributes(directory, leaf, path, entry);
        if (was_whiteout && entry.type == Type::directory) set_opaque(directory, leaf);
    }

    void write(int directory, const std::string& leaf, const TarEntry& entry) {
        fault_point("layers:unpack-file");
        const Fd file{::openat(directory, leaf.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
        if (!file) fail_errno("create");
        if (entry.sparse) {
            if (::ftruncate(file.get(), static_cast<off_t>(entry.size)) != 0) fail_errno("set size");
            for (const TarEntry::Segment& segment : entry.segments) {
                if (::lseek(file.get(), static_cast<off_t>(segment.offset), SEEK_SET) < 0) fail_errno("seek");
                copy(file.get(), segment.size);
            }
        } else {
            copy(file.get(), entry.size);
        }
        size_ += entry.size;
    }

    void copy(int file, std::uint64_t left) {
        while (left > 0) {
            const std::size_t count = tar_.read(std::span(buffer_).first(std::min<std::uint64_t>(left, buffer_.size())));
            if (count == 0) fail(ErrorKind::invalid_argument, "unexpected end of data");
            write_all(file, {buffer_.data(), count}, "file");
            left -= count;
        }
    }

    void link(int directory, const std::string& leaf, const TarEntry& entry) {
        const std::string target = clean_entry(entry.link);
        const auto [folder, name] = split_leaf(target);
        if (name.empty()) fail(ErrorKind::invalid_argument, "hard link to the root");
        const Fd from = root_.open_at(folder, O_PATH | O_DIRECTORY);
        struct stat source{};
        struct stat old{};
        if (::fstatat(from.get(), name.c_str(), &source, AT_SYMLINK_NOFOLLOW) != 0) fail_errno("hard link to {}", target);
        if (::fstatat(directory, leaf.c_str(), &old, AT_SYMLINK_NOFOLLOW) == 0) {
            if (old.st_ino == source.st_ino) return;
            remove_tree(directory, leaf);
            parent_path_ = "\x01";
        }
        // Without AT_SYMLINK_FOLLOW a link is linked itself, never what it names.
        if (::linkat(from.get(), name.c_str(), directory, leaf.c_str(), 0) != 0) fail_errno("hard link to {}", target);
    }

    void set_attributes(int directory, const std::string& leaf, const std::string& path, const TarEntry& entry) {
        const bool symlink = entry.type == TarEntry::Type::symlink;
        // The owner first: changing it clears setuid and security.capability.
        if (::fchownat(directory, leaf.c_str(), entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) != 0) fail_errno("change owner");
        const std::string name = through(directory, leaf);
        if (!symlink && ::fchmodat(directory, leaf.c_str(), entry.mode, 0) != 0) fail_errno("change mode");
        for (const auto& [key, value] : entry.xattrs) {
            if (is_overlay_xattr(key)) continue;
            if (::lsetxattr(name.c_str(), key.c_str(), value.data(), value.size(), 0) != 0 && errno != ENOTSUP &&
                !(errno == EPERM && key.starts_with("user."))) {
                fail_errno("set xattr {}", key);
            }
        }
        if (entry.type == TarEntry::Type::directory) {
            if (folder_times_.add(path, entry.mtime) && parent_) folder_times_.enter(parent_.get());
        } else {
            const std::array times{entry.mtime, entry.mtime};
            if (::utimensat(directory, leaf.c_str(), times.data(), AT_SYMLINK_NOFOLLOW) != 0) fail_errno("set time");
        }
    }

    TarReader& tar_;
    Root root_;
    Fd parent_;
    std::string parent_path_;
    std::uint64_t size_ = 0;
    FolderTimes folder_times_{[this](const std::string& path, const timespec& time) { set_folder_time(path, time); }};
    std::vector<char> buffer_ = std::vector<char>(std::size_t{256} << 10U);
};

}  // namespace

std::uint64_t unpack_tar(TarReader& tar, const std::string& directory) { return Unpacker{tar, directory}.run(); }

}  // namespace grua::layers
