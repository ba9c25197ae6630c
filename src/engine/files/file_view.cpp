#include "engine/files/file_view.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "base/thread.hpp"
#include "linux/mounts.hpp"
#include "linux/private_mounts.hpp"

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <climits>
#include <filesystem>
#include <list>

namespace grua::engine {
namespace {

constexpr std::uint64_t overlay_magic = 0x794c7630;
constexpr unsigned long ms_private = 1UL << 18U;
constexpr int link_limit = 255;

bool is_mount_root(int fd) {
    struct statx status{};
    if (::statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_TYPE, &status) != 0) return false;
    return (status.stx_attributes_mask & status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

/// A copy of what is mounted at a path of the host, cut off from where it came from.
Fd copy_of(const std::string& source, linux::Recursion recursion) {
    Fd mount = linux::copy_mount(AT_FDCWD, source.c_str(), recursion);
    linux::change_mount(mount.get(), {.propagation = ms_private}, recursion, source);
    return mount;
}

Fd copy_below(const std::string& source, const std::string& subpath) {
    const Fd found = Root::open(source.c_str()).open_at(subpath, O_PATH);
    Fd mount = linux::copy_mount(found.get(), "", linux::Recursion::recursive);
    linux::change_mount(mount.get(), {.propagation = ms_private}, linux::Recursion::recursive, subpath);
    return mount;
}

bool is_directory(int fd) {
    struct stat status{};
    return ::fstat(fd, &status) == 0 && S_ISDIR(status.st_mode);
}

bool is_unlinked(int fd) {
    struct stat status{};
    return ::fstat(fd, &status) == 0 && status.st_nlink == 0;
}

void make_mount_point(const Root& root, const ViewMount& mount) {
    if (is_directory(mount.mount.get())) {
        (void)root.make_directories(mount.destination);
        return;
    }
    const std::size_t slash = mount.destination.rfind('/');
    (void)root.make_directories(mount.destination.substr(0, slash));
    (void)root.open_at(mount.destination, O_CREAT | O_RDONLY | O_NOCTTY | O_NONBLOCK, 0644);
}

std::size_t depth_of(const std::string& path) { return static_cast<std::size_t>(std::ranges::count(path, '/')); }

void attach(const Root& root, const ViewMount& mount) {
    auto target = root.find_at(mount.destination, O_PATH);
    if (!target) {
        make_mount_point(root, mount);
        target = root.open_at(mount.destination, O_PATH);
    }
    if (mount.read_only) linux::change_mount(mount.mount.get(), {.set = MOUNT_ATTR_RDONLY}, linux::Recursion::recursive, mount.destination);
    linux::attach_mount(mount.mount.get(), target->get(), mount.destination);
}

}  // namespace

RunningMounts copy_running_mounts(int pidfd, const std::vector<std::string>& tmpfs) {
    RunningMounts out;
    in_thread([&] {
        if (::unshare(CLONE_FS) != 0) fail_errno("unshare the working folder");
        if (::setns(pidfd, CLONE_NEWNS) != 0) fail_errno("enter the container's mount namespace");
        const Root root = Root::open("/");
        // Whoever mounts something over a container's root does it from inside.
        if (linux::filesystem_type(root.fd()) != overlay_magic)
            fail(ErrorKind::conflict, "the container's root is not what it started with");
        const auto copy = [](int fd) {
            Fd mount = linux::copy_mount(fd, "", linux::Recursion::top_only);
            // A copy of a shared mount would pass on what is mounted in it.
            linux::change_mount(mount.get(), {.propagation = ms_private}, linux::Recursion::top_only, "the copy");
            return mount;
        };
        out.root = copy(root.fd());
        for (const std::string& destination : tmpfs) {
            const auto found = root.find_at(destination, O_PATH);
            if (!found || !is_mount_root(found->get()) || linux::filesystem_type(found->get()) != linux::tmpfs_magic) continue;
            out.tmpfs.push_back({copy(found->get()), destination});
        }
    });
    return out;
}

runtime::UserFiles read_running_user_files(int pidfd) {
    runtime::UserFiles out;
    in_thread([&] {
        if (::unshare(CLONE_FS) != 0) fail_errno("unshare the working folder");
        if (::setns(pidfd, CLONE_NEWNS) != 0) fail_errno("enter the container's mount namespace");
        out = runtime::read_user_files(Root::open("/"));
    });
    return out;
}

std::vector<ViewMount> copy_host_mounts(const ContainerRecord& record, const ImageMounter& mount_image) {
    std::vector<ViewMount> out;
    for (const MountPoint& point : record.mounts) {
        if (point.type == "tmpfs") continue;
        const MountDetail detail = detail_of(record, point.destination);
        if (point.type == "image") {
            out.push_back({mount_image(detail), point.destination, true});
            continue;
        }
        if (!detail.subpath.empty()) {
            out.push_back({copy_below(point.source, detail.subpath), point.destination, !point.rw});
            continue;
        }
        const bool top_only = detail.bind && detail.bind->non_recursive;
        std::error_code error;
        if (!std::filesystem::exists(point.source, error)) fail(ErrorKind::system, "stat {}: no such file or directory", point.source);
        out.push_back(
            {copy_of(point.source, top_only ? linux::Recursion::top_only : linux::Recursion::recursive), point.destination, !point.rw});
    }
    const auto add_file = [&](const std::string& source, const char* destination) {
        std::error_code error;
        const bool taken = std::ranges::find(out, destination, &ViewMount::destination) != out.end();
        // They are written with the first start.
        if (taken || source.empty() || !std::filesystem::exists(source, error)) return;
        out.push_back({copy_of(source, linux::Recursion::top_only), destination, record.host_config.readonly_rootfs});
    };
    add_file(record.resolv_conf_path, "/etc/resolv.conf");
    add_file(record.hostname_path, "/etc/hostname");
    add_file(record.hosts_path, "/etc/hosts");
    return out;
}

std::vector<std::string> tmpfs_destinations(const ContainerRecord& record) {
    std::vector<std::string> out;
    for (const MountPoint& point : record.mounts)
        if (point.type == "tmpfs") out.push_back(point.destination);
    for (const auto& [destination, options] : record.host_config.tmpfs) out.push_back(destination);
    return out;
}

bool has_mount_points(const Root& root, const std::vector<ViewMount>& mounts) {
    return std::ranges::all_of(mounts, [&](const ViewMount& each) { return root.find_at(each.destination, O_PATH).has_value(); });
}

void with_file_view(FileView view, const std::function<void(const Root&)>& use) {
    linux::in_private_mounts([&] {
        const Fd place{::open(view.attach_at.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
        if (!place) fail_errno("open folder {}", view.attach_at);
        linux::attach_mount(view.root.get(), place.get(), "the root");
        const Root root = Root::at(std::move(view.root));
        // A folder is mounted before what is in it.
        std::ranges::sort(view.mounts, {}, [](const ViewMount& each) { return std::pair(depth_of(each.destination), each.destination); });
        for (const ViewMount& each : view.mounts) {
            try {
                attach(root, each);
            } catch (const Error& error) {
                // In a read-only root what is not there cannot be made; the container sees it in another mount of its own.
                // A network file that a start has just written anew cannot be mounted any more; the next view has the new one.
                if (error.os_error() != EROFS && !(error.os_error() == ENOENT && is_unlinked(each.mount.get()))) throw;
                log::debug("{}: not in the view: {}", each.destination, error.what());
            }
        }
        // Last, so that mount points could be made. Nothing in the view is a device.
        linux::change_mount(root.fd(), {.set = MOUNT_ATTR_NODEV}, linux::Recursion::recursive, "the root");
        if (view.read_only_root) linux::change_mount(root.fd(), {.set = MOUNT_ATTR_RDONLY}, linux::Recursion::top_only, "the root");
        use(root);
    });
}

std::string clean_path(std::string_view path) {
    std::vector<std::string> parts;
    const std::vector<std::string> given = split(path, '/');
    for (const std::string& part : given) {
        if (part.empty() || part == ".") continue;
        if (part != "..") {
            parts.push_back(part);
        } else if (!parts.empty()) {
            parts.pop_back();
        }
    }
    std::string out = "/" + join(parts, "/");
    const std::string_view end = out.ends_with('/') ? "" : "/";
    if (given.back() == ".") return fmt::format("{}{}.", out, end);
    if (given.back().empty()) return fmt::format("{}{}", out, end);
    return out;
}

std::string follow_links(const Root& root, std::string_view path) {
    std::list<std::string> rest;
    for (std::string& part : split(path, '/')) rest.push_back(std::move(part));
    std::vector<std::string> done;
    int links = 0;
    while (!rest.empty()) {
        const std::string part = std::move(rest.front());
        rest.pop_front();
        if (part.empty() || part == ".") continue;
        if (part == "..") {
            if (!done.empty()) done.pop_back();
            continue;
        }
        done.push_back(part);
        std::string target;
        try {
            const Fd found = root.open_at("/" + join(done, "/"), O_PATH | O_NOFOLLOW);
            target.resize(PATH_MAX);
            const ssize_t length = ::readlinkat(found.get(), "", target.data(), target.size());
            target.resize(length < 0 ? 0 : static_cast<std::size_t>(length));
        } catch (const Error&) {
            continue;
        }
        if (target.empty()) continue;
        if (++links > link_limit) fail(ErrorKind::invalid_argument, "{}: too many links", path);
        if (target.starts_with('/')) {
            done.clear();
        } else {
            done.pop_back();
        }
        std::list<std::string> more;
        for (std::string& each : split(target, '/')) more.push_back(std::move(each));
        rest.splice(rest.begin(), more);
    }
    return "/" + join(done, "/");
}

}  // namespace grua::engine
