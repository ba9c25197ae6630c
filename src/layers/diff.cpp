#include "layers/diff.hpp"

#include "base/error.hpp"
#include "linux/root.hpp"

#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <optional>

namespace grua::layers {
namespace {

constexpr std::string_view whiteout_prefix = ".wh.";
constexpr std::size_t depth_limit = 1000;

using Inode = std::pair<dev_t, ino_t>;

/// One entry of the upper (or, deleted, of the lower) with all that a reader of it needs.
struct Found {
    Change change;
    int directory = -1;  ///< In the upper.
    std::string leaf;
    struct stat status{};  ///< Of a deleted one: the whiteout's, else the folder's that hides it.
};

Fd open_folder(int directory, const std::string& leaf) {
    return Fd{::openat(directory, leaf.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
}

std::optional<struct stat> status_of(int directory, const std::string& leaf) {
    struct stat status{};
    if (directory < 0 || ::fstatat(directory, leaf.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return std::nullopt;
    return status;
}

bool is_whiteout(const struct stat& status) { return S_ISCHR(status.st_mode) && status.st_rdev == 0; }

std::string overlay_xattr(int folder, const char* name) {
    std::array<char, 256> value{};
    const ssize_t size = ::fgetxattr(folder, name, value.data(), value.size());
    return size <= 0 ? std::string{} : std::string(value.data(), static_cast<std::size_t>(size));
}

/// user.overlay.opaque is not looked at: grua's mounts do not use it, and every program in a container may set it.
bool is_opaque(int folder) {
    if (!overlay_xattr(folder, "trusted.overlay.redirect").empty()) fail(ErrorKind::system, "a folder that was renamed by overlayfs");
    return overlay_xattr(folder, "trusted.overlay.opaque") == "y";
}

bool same_time(const timespec& one, const timespec& other) {
    return one.tv_sec == other.tv_sec && (one.tv_nsec == other.tv_nsec || one.tv_nsec == 0 || other.tv_nsec == 0);
}

bool same_bytes(int one, int other) {
    std::array<std::array<char, 65536>, 2> buffers{};
    for (off_t at = 0;;) {
        const ssize_t first = ::pread(one, buffers[0].data(), buffers[0].size(), at);
        const ssize_t second = ::pread(other, buffers[1].data(), buffers[1].size(), at);
        if (first < 0 || second < 0) fail_errno("read");
        if (first != second || !std::equal(buffers[0].begin(), buffers[0].begin() + first, buffers[1].begin())) return false;
        if (first == 0) return true;
        at += first;
    }
}

/// False also where one of them vanished meanwhile.
bool is_same(int upper, int lower, const std::string& leaf, const struct stat& now, const struct stat& before) {
    if (now.st_mode != before.st_mode || now.st_uid != before.st_uid || now.st_gid != before.st_gid || now.st_rdev != before.st_rdev)
        return false;
    const bool folder = S_ISDIR(now.st_mode);
    if (!folder && (now.st_size != before.st_size || !same_time(now.st_mtim, before.st_mtim))) return false;
    const Fd one{::openat(upper, leaf.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)};
    const Fd other{::openat(lower, leaf.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)};
    if (!one || !other) return false;
    if (S_ISLNK(now.st_mode)) return link_target(one.get()) == link_target(other.get());
    if (portable_xattrs(one.get(), now) != portable_xattrs(other.get(), before)) return false;
    if (!S_ISREG(now.st_mode) || now.st_size == 0) return true;
    struct stat pinned{};
    if (::fstat(one.get(), &pinned) != 0 || !S_ISREG(pinned.st_mode)) return false;
    return same_bytes(reopen(one.get(), O_RDONLY).get(), reopen(other.get(), O_RDONLY).get());
}

class Walk {
public:
    struct Hooks {
        std::function<void(const Found&)> changed;
        /// A file with several names that is as it was. True: to be told as changed all the same.
        std::function<bool(const std::string& path, const struct stat&)> unchanged_link;
    };

    Walk(const Diff& diff, Hooks hooks) : diff_(diff), hooks_(std::move(hooks)) {}

    void run() { folder(diff_.upper, diff_.lower, Hides::nothing, "", 0); }

private:
    enum class Hides { nothing, all };

    /// `lower` is -1 where there is nothing below. A folder that hides all below it, or that is in one, is compared with it by name:
    /// overlayfs marks the outermost alone.
    void folder(int upper, int lower, Hides hides, const std::string& path, std::size_t depth) {
        if (depth > depth_limit) fail(ErrorKind::invalid_argument, "{}: more than {} folders deep", path, depth_limit);
        std::vector<std::string> names = sorted_names(upper);
        if (hides == Hides::all && lower >= 0) {
            const std::vector<std::string> hidden = sorted_names(lower);
            std::vector<std::string> all;
            std::ranges::set_union(names, hidden, std::back_inserter(all));
            names = std::move(all);
        }
        for (const std::string& each : names) entry(upper, lower, hides, each, path + "/" + each, depth);
    }

    void entry(int upper, int lower, Hides hides, const std::string& leaf, const std::string& path, std::size_t depth) {
        const auto now = status_of(upper, leaf);
        const auto before = status_of(lower, leaf);
        if (!now || is_whiteout(*now)) {
            struct stat hider{};
            if (now) hider = *now;
            if (!now && ::fstat(upper, &hider) != 0) fail_errno("stat {}", path);
            if (before) tell({{path, ChangeKind::deleted}, upper, leaf, hider});
            return;
        }
        const bool is_folder = S_ISDIR(now->st_mode);
        const bool was_folder = before && S_ISDIR(before->st_mode);
        const bool made = !before && diff_.mount_points.contains(path) && is_mount_point(*now);
        const Found found{{path, before || made ? ChangeKind::modified : ChangeKind::added}, upper, leaf, *now};
        const bool same = made || (before && is_same(upper, lower, leaf, *now, *before));
        if (!is_folder) {
            if (!same || (now->st_nlink > 1 && hooks_.unchanged_link && hooks_.unchanged_link(path, *now))) tell(found);
            return;
        }
        // A folder that is as it was is told with the first change below it.
        if (!same) {
            tell(found);
        } else {
            parents_.push_back({found, false});
        }
        if (const Fd below = open_folder(upper, leaf)) {
            const Fd old = was_folder ? open_folder(lower, leaf) : Fd{};
            if (is_opaque(below.get())) hides = Hides::all;
            folder(below.get(), old.get(), hides, path, depth + 1);
        } else if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP) {
            fail_errno("open folder {}", path);
        }
        if (same) parents_.pop_back();
    }

    /// As the runtime makes it: nobody has put anything there.
    static bool is_mount_point(const struct stat& status) {
        if (status.st_uid != 0 || status.st_gid != 0) return false;
        return S_ISDIR(status.st_mode) ? (status.st_mode & 07777U) == 0755U : S_ISREG(status.st_mode) && status.st_size == 0;
    }

    void tell(const Found& found) {
        for (auto& [parent, told] : parents_) {
            if (!std::exchange(told, true)) hooks_.changed(parent);
        }
        hooks_.changed(found);
    }

    const Diff& diff_;
    Hooks hooks_;
    std::vector<std::pair<Found, bool>> parents_;  // unchanged so far, the outermost first
};

/// The folders that a path leads through, the outermost first.
std::vector<std::string> parents_of(const std::string& path) {
    std::vector<std::string> out;
    for (std::size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) out.push_back(path.substr(0, at));
    return out;
}

}  // namespace

void visit_changes(const Diff& diff, const std::function<void(const Change&)>& visit) {
    Walk{diff, {.changed = [&](const Found& found) { visit(found.change); }, .unchanged_link = {}}}.run();
}

bool pack_changes(const Diff& diff, Sink& sink, PackLimits limits) {
    Packer packer{sink, limits};
    bool any = false;
    std::set<Inode> written;                              // files with several names
    std::map<Inode, std::vector<std::string>> unchanged;  // names that were left out, should another name turn out to have changed
    std::vector<std::string> late;
    const auto inode = [](const struct stat& status) { return Inode{status.st_dev, status.st_ino}; };
    const auto changed = [&](const Found& found) {
        any = true;
        const std::string name = found.change.path.substr(1);
        if (found.leaf.starts_with(whiteout_prefix))
            fail(ErrorKind::invalid_argument, "{}: a layer cannot have a file whose name begins with .wh.", found.change.path);
        if (found.change.kind == ChangeKind::deleted) {
            const std::string folder = name.substr(0, name.size() - found.leaf.size());
            packer.add_marker(fmt::format("{}{}{}", folder, whiteout_prefix, found.leaf), found.status.st_mtim);
            return;
        }
        packer.add_entry(found.directory, found.leaf, name);
        if (S_ISDIR(found.status.st_mode) || found.status.st_nlink == 1) return;
        written.insert(inode(found.status));
        if (auto others = unchanged.extract(inode(found.status))) std::ranges::move(others.mapped(), std::back_inserter(late));
    };
    const auto unchanged_link = [&](const std::string& path, const struct stat& status) {
        if (written.contains(inode(status))) return true;
        unchanged[inode(status)].push_back(path);
        return false;
    };
    Walk{diff, {.changed = changed, .unchanged_link = unchanged_link}}.run();
    const Root root = Root::at(Fd{::fcntl(diff.upper, F_DUPFD_CLOEXEC, 0)});
    const auto add_late = [&](const std::string& path) {
        const std::size_t slash = path.rfind('/');
        packer.add_entry(root.open_at(path.substr(0, slash), O_PATH | O_DIRECTORY).get(), path.substr(slash + 1), path.substr(1));
    };
    for (const std::string& path : late) {
        // Their folders may not have been told; once more does no harm.
        for (const std::string& parent : parents_of(path)) add_late(parent);
        add_late(path);
    }
    packer.finish();
    return any;
}

}  // namespace grua::layers
