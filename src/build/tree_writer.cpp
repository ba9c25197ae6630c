#include "build/tree_writer.hpp"

#include "base/error.hpp"
#include "base/fault_point.hpp"
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "layers/pack.hpp"
#include "layers/tree.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <array>
#include <optional>
#include <utility>

namespace grua::build {
namespace {

constexpr std::int64_t second = 1'000'000'000;

/// Below the folder, and no link on the way.
Fd open_below(const Fd& folder, const std::string& path, std::uint64_t flags, mode_t mode = 0) {
    open_how how{};
    how.flags = flags | O_CLOEXEC;
    how.mode = mode;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
    Fd out{static_cast<int>(::syscall(SYS_openat2, folder.get(), path.c_str(), &how, sizeof how))};
    if (!out) fail_errno("{}", path);
    return out;
}

struct Place {
    Fd folder;
    std::string name;
};

Place place_of(const Fd& folder, const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return {open_below(folder, ".", O_PATH | O_DIRECTORY), path};
    return {open_below(folder, path.substr(0, slash), O_PATH | O_DIRECTORY), path.substr(slash + 1)};
}

std::array<timespec, 2> times_of(const TreeEntry& entry) {
    // Nanoseconds are counted up from the second before, also before 1970.
    std::int64_t seconds = entry.mtime / second;
    std::int64_t rest = entry.mtime % second;
    if (rest < 0) {
        rest += second;
        --seconds;
    }
    const timespec time{.tv_sec = seconds, .tv_nsec = rest};
    return {time, time};
}

/// Of what is no link; the owner first, since a change of it takes set-user-ID away.
void set_attributes(int fd, const std::string& path, const TreeEntry& entry, Present present) {
    if (::fchown(fd, entry.uid, entry.gid) != 0) fail_errno("{}: set its owner", path);
    if (::fchmod(fd, entry.mode & 07777U) != 0) fail_errno("{}: set its mode", path);
    for (const auto& [name, value] : entry.xattrs) {
        if (::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) == 0 || errno == EOPNOTSUPP) continue;
        // Who writes into a folder of their own may not give a file capabilities.
        if (present == Present::replaced && errno == EPERM) continue;
        fail_errno("{}: set {}", path, name);
    }
    if (::futimens(fd, times_of(entry).data()) != 0) fail_errno("{}: set its times", path);
}

/// What a folder has of before.
void remove_other_xattrs(int fd, const std::string& path, const TreeEntry& entry) {
    struct stat status{};
    if (::fstat(fd, &status) != 0) fail_errno("{}: stat", path);
    for (const auto& [name, value] : layers::portable_xattrs(fd, status)) {
        if (entry.xattrs.contains(name)) continue;
        if (::fremovexattr(fd, name.c_str()) != 0 && errno != ENODATA) fail_errno("{}: remove {}", path, name);
    }
}

/// A name beside the one that is to be replaced.
Place aside_of(const Place& place) {
    Fd folder{::openat(place.folder.get(), ".", O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (!folder) fail_errno("open a folder");
    return {std::move(folder), ".tmp." + random_hex(8)};
}

/// What is aside takes the place's name. A folder that has it goes first.
void put_in_place(const Place& aside, const Place& place, const std::string& path) {
    struct stat there{};
    if (::fstatat(place.folder.get(), place.name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(there.st_mode)) {
        const Fd folder = open_below(place.folder, ".", O_RDONLY | O_DIRECTORY);
        layers::remove_tree(folder.get(), place.name);
    }
    if (::renameat(aside.folder.get(), aside.name.c_str(), place.folder.get(), place.name.c_str()) != 0)
        fail_errno("{}: put it in its place", path);
    // Two names of one file: the kernel leaves both.
    ::unlinkat(aside.folder.get(), aside.name.c_str(), 0);
}

void make_folder(const Place& place, const std::string& path, Present present) {
    if (::mkdirat(place.folder.get(), place.name.c_str(), 0700) == 0) return;
    if (present == Present::nothing || errno != EEXIST) fail_errno("{}: make the folder", path);
    struct stat there{};
    if (::fstatat(place.folder.get(), place.name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(there.st_mode)) return;
    if (::unlinkat(place.folder.get(), place.name.c_str(), 0) != 0 && errno != ENOENT) fail_errno("{}: remove what is there", path);
    if (::mkdirat(place.folder.get(), place.name.c_str(), 0700) != 0) fail_errno("{}: make the folder", path);
}

void make_device(const Place& place, const std::string& path, const TreeEntry& entry) {
    if (::mknodat(place.folder.get(), place.name.c_str(), entry.mode, entry.device) != 0) fail_errno("{}: make it", path);
    if (::fchownat(place.folder.get(), place.name.c_str(), entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) != 0)
        fail_errno("{}: set its owner", path);
    if (::fchmodat(place.folder.get(), place.name.c_str(), entry.mode & 07777U, 0) != 0) fail_errno("{}: set its mode", path);
}

}  // namespace

TreeWriter::TreeWriter(const std::string& folder, Present present)
    : folder_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | (present == Present::nothing ? O_NOFOLLOW : 0))),
      present_(present) {
    if (!folder_) fail_errno("open {}", folder);
}

void TreeWriter::remove(const std::string& path) const {
    const Place place = place_of(folder_, path);
    // A descriptor that can be read is needed below.
    const Fd folder = open_below(place.folder, ".", O_RDONLY | O_DIRECTORY);
    layers::remove_tree(folder.get(), place.name);
}

void TreeWriter::make(const std::string& path, const TreeEntry& entry) const {
    const Place target = place_of(folder_, path);
    // All else of a folder is set when nothing more is made in it.
    if (S_ISDIR(entry.mode)) return make_folder(target, path, present_);
    const std::optional<Place> aside = present_ == Present::replaced ? std::optional(aside_of(target)) : std::nullopt;
    const Place& place = aside ? *aside : target;
    if (S_ISLNK(entry.mode)) {
        if (::symlinkat(entry.link.c_str(), place.folder.get(), place.name.c_str()) != 0) fail_errno("{}: make the link", path);
        if (::fchownat(place.folder.get(), place.name.c_str(), entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) != 0)
            fail_errno("{}: set its owner", path);
    } else {
        make_device(place, path, entry);
    }
    if (::utimensat(place.folder.get(), place.name.c_str(), times_of(entry).data(), AT_SYMLINK_NOFOLLOW) != 0)
        fail_errno("{}: set its times", path);
    if (aside) put_in_place(*aside, target, path);
}

void TreeWriter::link(const std::string& path, const TreeEntry& entry) const {
    const Place from = place_of(folder_, entry.link);
    const Place target = place_of(folder_, path);
    const std::optional<Place> aside = present_ == Present::replaced ? std::optional(aside_of(target)) : std::nullopt;
    const Place& to = aside ? *aside : target;
    if (::linkat(from.folder.get(), from.name.c_str(), to.folder.get(), to.name.c_str(), 0) != 0)
        fail_errno("{}: link it to {}", path, entry.link);
    if (aside) put_in_place(*aside, target, path);
}

void TreeWriter::set(const std::string& path, const TreeEntry& entry) const {
    const Fd there = open_below(folder_, path, O_RDONLY | O_DIRECTORY);
    if (present_ == Present::nothing) remove_other_xattrs(there.get(), path, entry);
    set_attributes(there.get(), path, entry, present_);
}

FileWriter::~FileWriter() {
    if (aside_.empty()) return;
    try {
        const Place place = place_of(tree_.folder(), aside_);
        ::unlinkat(place.folder.get(), place.name.c_str(), 0);
    } catch (const Error& error) {
        log::info("{} stays: {}", aside_, error.what());
    }
}

void FileWriter::open() {
    if (file_) return;
    if (tree_.present() == Present::replaced) {
        const std::string_view parent = parent_of(path_);
        aside_ = (parent.empty() ? std::string() : std::string(parent) + "/") + ".tmp." + random_hex(8);
    }
    fault_point("build:receive-file");
    file_ = open_below(tree_.folder(), aside_.empty() ? path_ : aside_, O_WRONLY | O_CREAT | O_EXCL, 0600);
}

void FileWriter::write(std::string_view bytes) {
    open();
    write_all(file_.get(), bytes, path_);
    hash_.update(bytes);
    size_ += bytes.size();
}

TreeEntry FileWriter::finish() {
    open();
    set_attributes(file_.get(), path_, entry_, tree_.present());
    file_ = {};
    if (!aside_.empty()) {
        put_in_place(place_of(tree_.folder(), aside_), place_of(tree_.folder(), path_), path_);
        aside_.clear();
    }
    entry_.size = size_;
    entry_.digest = hash_.finish().text();
    return std::move(entry_);
}

}  // namespace grua::build
