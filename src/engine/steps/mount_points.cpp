#include "engine/steps/mount_points.hpp"

#include "base/error.hpp"
#include "base/test_points.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>

namespace grua::engine {
namespace {

struct stat look(int fd, std::string_view name) {
    struct stat about{};
    if (::fstat(fd, &about) != 0) fail_errno("stat {}", name);
    return about;
}

bool is_same(const timespec& one, const timespec& other) { return one.tv_sec == other.tv_sec && one.tv_nsec == other.tv_nsec; }

bool is_below(std::string_view path, std::string_view folder) {
    return path.starts_with(folder) && path.substr(folder.size()).starts_with('/');
}

/// What is mounted there: a file only where a file is.
Root::Kind kind_of(const oci::Mount& mount, const std::vector<tasks::TaskMount>& given) {
    if (mount.type != "bind") return Root::Kind::directory;
    const auto found = std::ranges::find(given, mount.destination, &tasks::TaskMount::destination);
    struct stat about{};
    if (found != given.end())
        about = look(found->mount.get(), mount.destination);
    else if (::stat(mount.source.c_str(), &about) != 0)
        fail_errno("stat {}", mount.source);
    return S_ISDIR(about.st_mode) ? Root::Kind::directory : Root::Kind::file;
}

bool has_mode(const oci::Mount& mount) {
    return std::ranges::any_of(mount.options, [](const std::string& each) { return each.starts_with("mode="); });
}

}  // namespace

void MountPoints::make_one(const std::string& path, Root::Kind kind) {
    const auto complete = [this] {
        if (points_.empty()) return;
        Point& last = points_.back();
        if (last.own) return;
        last.own = Fd(::openat(last.folder.get(), last.name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
        if (!last.own) fail_errno("open {}", last.name);
        last.after = look(last.folder.get(), last.name).st_mtim;
    };
    const auto before = [&](int folder, const std::string& name) {
        complete();
        Point point{.folder = Fd(::fcntl(folder, F_DUPFD_CLOEXEC, 0)), .name = name, .path = path, .own = {}};
        if (!point.folder) fail_errno("duplicate a descriptor");
        point.before = look(folder, name).st_mtim;
        points_.push_back(std::move(point));
    };
    (void)root_.make(path, kind, before);
    complete();
}

void MountPoints::make(oci::RuntimeSpec& document, const std::vector<tasks::TaskMount>& given) {
    for (std::size_t i = 0; i < document.mounts.size(); ++i) {
        oci::Mount& mount = document.mounts[i];
        // Its place is in what is mounted there by then.
        const auto covers = [&](const oci::Mount& each) { return is_below(mount.destination, each.destination); };
        if (std::any_of(document.mounts.begin(), document.mounts.begin() + static_cast<std::ptrdiff_t>(i), covers)) continue;
        if (root_.find_at(mount.destination, O_PATH)) continue;
        while_doing(fmt::format("error mounting {:?} to rootfs at {:?}", mount.source, mount.destination),
                    [&] { make_one(mount.destination, kind_of(mount, given)); });
        // It has the mode of the folder that it is mounted on, where somebody else made that.
        if (mount.type == "tmpfs" && !has_mode(mount)) mount.options.emplace_back("mode=1777");
    }
}

/// Gone, moved, taken by something else or not empty any more: then it is the program's, and stays.
void MountPoints::remove_one(const Point& point) const {
    if (is_left_out("CVE-2024-23652")) {  // as who goes there by its path once more
        ::remove(fmt::format("/proc/self/fd/{}/{}", root_.fd(), point.path).c_str());
        return;
    }
    struct stat there{};
    if (::fstatat(point.folder.get(), point.name.c_str(), &there, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) return;
        fail_errno("stat {} of mount {}", point.name, point.path);
    }
    // Without one of its own it is what make() was about when it failed: no program has run.
    const struct stat made = point.own ? look(point.own.get(), point.name) : there;
    if (there.st_dev != made.st_dev || there.st_ino != made.st_ino) return;
    const bool is_folder = S_ISDIR(made.st_mode);
    if (!is_folder && (!S_ISREG(made.st_mode) || made.st_size != 0)) return;
    const timespec changed = look(point.folder.get(), point.name).st_mtim;
    if (::unlinkat(point.folder.get(), point.name.c_str(), is_folder ? AT_REMOVEDIR : 0) != 0) {
        if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOENT) return;
        fail_errno("remove {} of mount {}", point.name, point.path);
    }
    // As if it had never been there: who builds the same twice has the same times.
    const std::array<timespec, 2> times{timespec{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
                                        is_same(changed, point.after) ? point.before : changed};
    if (::utimensat(point.folder.get(), ".", times.data(), 0) != 0 && errno != ENOENT)
        fail_errno("set the time of the folder of {} of mount {}", point.name, point.path);
}

void MountPoints::remove() {
    for (; !points_.empty(); points_.pop_back()) remove_one(points_.back());
}

}  // namespace grua::engine
