// The mounts of the configuration, each by descriptors: made, then attached to what openat2 finds under the container's root.
//
// They are made in the configuration's order, which mountinfo shows them in. Where the container begins from an empty mount namespace all
// are made before the first is attached, while the host's paths are there; else each is made when its turn comes, so that the source of
// a bind may be what an earlier one has put there.
#include "linux/mounts.hpp"
#include "base/error.hpp"
#include "base/test_points.hpp"
#include "base/text.hpp"
#include "linux/process.hpp"
#include "runtime/plan.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <algorithm>
#include <array>
#include <filesystem>

namespace grua::runtime {
namespace {

using linux::Recursion;

struct stat look(int fd, std::string_view name) {
    struct stat about{};
    if (::fstat(fd, &about) != 0) fail_errno("stat {}", name);
    return about;
}

void check_inside_proc(const std::string& destination, const PlannedMount& planned, int made) {
    constexpr std::array<std::string_view, 10> allowed{"/proc/cpuinfo",
                                                       "/proc/diskstats",
                                                       "/proc/meminfo",
                                                       "/proc/stat",
                                                       "/proc/swaps",
                                                       "/proc/uptime",
                                                       "/proc/loadavg",
                                                       "/proc/slabinfo",
                                                       "/proc/sys/kernel/ns_last_pid",
                                                       "/proc/sys/crypto/fips_enabled"};
    if (is_left_out("CVE-2025-52881")) return;
    if (destination == "/proc") {
        const bool is_proc =
            !planned.source_path.empty() ? linux::filesystem_type(made) == linux::proc_magic : planned.mount->type == "proc";
        if (!is_proc) fail(ErrorKind::invalid_argument, "{:?} cannot be mounted because it is not of type proc", destination);
    } else if (destination.starts_with("/proc/") && std::ranges::count(allowed, destination) == 0) {
        fail(ErrorKind::invalid_argument, "{:?} cannot be mounted because it is inside /proc", destination);
    }
}

/// A tmpfs that shall be read-only is written to by us first: mount points in it, devices, what it covers.
bool is_read_only_later(const PlannedMount& planned, const std::string& destination) {
    return (planned.options.top.set & MOUNT_ATTR_RDONLY) != 0 && (planned.mount->type == "tmpfs" || destination == "/dev");
}

template <typename Body>
decltype(auto) while_mounting(const PlannedMount& planned, Body&& body) {
    try {
        return std::forward<Body>(body)();
    } catch (Error& error) {
        error.add_context(fmt::format("error mounting {:?} to rootfs at {:?}",
                                      planned.mount->source.empty() ? planned.mount->type : planned.mount->source,
                                      planned.mount->destination));
        throw;
    }
}

Fd make_new(const Plan& plan, const PlannedMount& planned) {
    const oci::Mount& mount = *planned.mount;
    const std::string& source = mount.source.empty() ? mount.type : mount.source;
    const std::uint64_t later = is_read_only_later(planned, cleaned(mount.destination)) ? MOUNT_ATTR_RDONLY : 0;
    const std::uint64_t attributes = planned.options.top.set & ~later;
    if (mount.type == "proc" && plan.proc)
        return linux::make_filesystem(plan.proc.get(), mount.type.c_str(), source.c_str(), planned.options.filesystem, attributes);
    return linux::make_filesystem(mount.type.c_str(), source.c_str(), planned.options.filesystem, attributes);
}

MadeMount make(const Plan& plan, Progress& progress, const PlannedMount& planned) {
    MadeMount made;
    if (planned.options.remount) return made;
    if (planned.source) {
        made.fd = planned.source.get();
        return made;
    }
    if (is_of_cgroups(planned)) return make_cgroup_mount(plan, progress, planned);
    if (!planned.source_path.empty())
        made.own = linux::copy_mount(AT_FDCWD, planned.source_path.c_str(),
                                     planned.options.recursive_bind ? Recursion::recursive : Recursion::top_only);
    else
        made.own = make_new(plan, planned);
    made.fd = made.own.get();
    return made;
}

void set_propagation(int mount, const MountOptions& options, const std::string& name) {
    if (options.propagation != 0) linux::change_mount(mount, {.propagation = options.propagation}, options.propagation_recursion, name);
    if (options.below.set != 0 || options.below.clear != 0) linux::change_mount(mount, options.below, Recursion::recursive, name);
}

void attach_new(const Plan& plan, Progress& progress, const PlannedMount& planned, MadeMount& made, const std::string& destination) {
    const oci::Mount& mount = *planned.mount;
    if (mount.type == "proc" || mount.type == "sysfs" || destination == "/dev") need_folder(plan, *progress.root, destination);
    bool was_there = false;
    const Fd target = mount_point(*progress.root, destination, Root::Kind::directory, was_there);
    const bool has_mode = std::ranges::any_of(planned.options.filesystem, [](const auto& each) { return each.starts_with("mode="); });
    if (mount.type == "tmpfs" && was_there && !has_mode &&
        ::fchmodat(made.fd, ".", look(target.get(), destination).st_mode & 07777U, 0) != 0)
        fail_errno("change the mode of {}", destination);
    if (planned.options.copy_up && was_there) {
        const Fd from = progress.root->open_at(destination, O_RDONLY | O_DIRECTORY);
        const Fd to{::openat(made.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
        copy_tree(from.get(), to.get());
    }
    linux::attach_mount(made.fd, target.get(), destination);
    set_propagation(made.fd, planned.options, destination);
    if (is_read_only_later(planned, destination)) {
        progress.read_only_later.emplace_back(std::move(made.own), destination);
    } else if (destination == "/proc" && planned.options.filesystem.empty() && (planned.options.top.set & MOUNT_ATTR_RDONLY) == 0) {
        progress.proc = std::move(made.own);
    }
}

void attach_bind(Progress& progress, const PlannedMount& planned, int source, const std::string& destination) {
    const bool directory = S_ISDIR(look(source, planned.mount->source).st_mode);
    bool was_there = false;
    const Fd target = mount_point(*progress.root, destination, directory ? Root::Kind::directory : Root::Kind::file, was_there);
    if (S_ISDIR(look(target.get(), destination).st_mode) != directory)
        throw Error(
            ErrorKind::invalid_argument,
            fmt::format("mount {} on {}: {}", planned.mount->source, destination,
                        "not a directory: Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host "
                        "path exists and is the expected type"),
            ENOTDIR);
    linux::attach_mount(source, target.get(), destination);
    const MountOptions& options = planned.options;
    if (options.propagation == 0) linux::change_mount(source, {.propagation = MS_SLAVE}, Recursion::recursive, destination);
    set_propagation(source, options, destination);
    if (options.top.set != 0 || options.top.clear != 0) linux::change_mount(source, options.top, Recursion::top_only, destination);
}

void attach(const Plan& plan, Progress& progress, const PlannedMount& planned, MadeMount& made) {
    const std::string destination = cleaned(planned.mount->destination);
    if (destination == "/") fail(ErrorKind::invalid_argument, "the root cannot be a mount's destination");
    check_inside_proc(destination, planned, made.fd);
    if (planned.options.remount) {
        const Fd target = progress.root->open_at(destination, O_PATH);
        linux::change_mount(target.get(), planned.options.top, Recursion::top_only, destination);
    } else if (!planned.source_path.empty()) {
        attach_bind(progress, planned, made.fd, destination);
    } else if (is_of_cgroups(planned)) {
        bool was_there = false;
        const Fd target = mount_point(*progress.root, destination, Root::Kind::directory, was_there);
        attach_cgroups(plan, planned, made, target.get());
    } else {
        attach_new(plan, progress, planned, made, destination);
    }
}

}  // namespace

std::string cleaned(std::string_view path) {
    std::vector<std::string> parts;
    for (std::string& part : split(path, '/')) {
        if (part == ".." && !parts.empty()) parts.pop_back();
        if (!part.empty() && part != "." && part != "..") parts.push_back(std::move(part));
    }
    return "/" + join(parts, "/");
}

Fd mount_point(const Root& root, const std::string& path, Root::Kind kind, bool& was_there) {
    if (is_left_out("CVE-2021-30465") && kind == Root::Kind::directory) {
        const std::string name = fmt::format("/proc/self/fd/{}{}", root.fd(), path);
        was_there = !std::filesystem::create_directories(name);
        return Fd{::open(name.c_str(), O_PATH | O_CLOEXEC)};
    }
    if (auto found = root.find_at(path, O_PATH)) {
        was_there = true;
        return std::move(*found);
    }
    was_there = false;
    return root.make(path, kind);
}

void need_folder(const Plan& plan, const Root& root, const std::string& path) {
    const auto found = root.find_at(path, O_PATH | O_NOFOLLOW);
    if (!found || S_ISDIR(look(found->get(), path).st_mode)) return;
    // Where the image has something else there Docker puts a folder in its place, in a layer of its own.
    if (plan.owns_rootfs && path.rfind('/') == 0) {
        if (::unlinkat(root.fd(), path.c_str() + 1, 0) != 0) fail_errno("replace {}", path);
        return;
    }
    fail(ErrorKind::invalid_argument, "filesystem {:?} must be mounted on ordinary directory", path);
}

void make_mounts(const Plan& plan, Progress& progress) {
    if (plan.empty_mounts < 0) return;
    for (const PlannedMount& planned : plan.mounts)
        progress.made.push_back(while_mounting(planned, [&] { return make(plan, progress, planned); }));
}

void attach_mounts(const Plan& plan, Progress& progress) {
    for (std::size_t i = 0; i < plan.mounts.size(); ++i) {
        const PlannedMount& planned = plan.mounts[i];
        while_mounting(planned, [&] {
            MadeMount made = progress.made.empty() ? make(plan, progress, planned) : std::move(progress.made[i]);
            attach(plan, progress, planned, made);
        });
    }
}

void finish_mounts(const Plan&, Progress& progress) {
    for (const auto& [mount, destination] : progress.read_only_later)
        linux::change_mount(mount.get(), {.set = MOUNT_ATTR_RDONLY}, Recursion::top_only, destination);
}

}  // namespace grua::runtime
