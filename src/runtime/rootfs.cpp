// The container's file system: its root attached, every mount of the specification through a descriptor, devices, terminal,
// masks; then the change of root. All targets are resolved under the root by openat2.
#include "base/error.hpp"
#include "base/files.hpp"
#include "base/test_points.hpp"
#include "base/text.hpp"
#include "linux/mounts.hpp"
#include "linux/process.hpp"
#include "runtime/plan.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <algorithm>
#include <array>
#include <filesystem>
#include <map>

namespace grua::runtime {
namespace {

using linux::Recursion;

struct stat look(int fd, std::string_view name) {
    struct stat about{};
    if (::fstat(fd, &about) != 0) fail_errno("stat {}", name);
    return about;
}

std::string_view parent_of(std::string_view path) { return path.substr(0, path.rfind('/')); }

enum class Kind { directory, file };

/// The mount point, made where it is missing.
Fd mount_point(const Root& root, const std::string& path, Kind kind, bool& was_there) {
    if (is_left_out("CVE-2021-30465") && kind == Kind::directory) {
        const std::string name = fmt::format("/proc/self/fd/{}{}", root.fd(), path);
        was_there = !std::filesystem::create_directories(name);
        return Fd{::open(name.c_str(), O_PATH | O_CLOEXEC)};
    }
    if (auto found = root.find_at(path, O_PATH)) {
        was_there = true;
        return std::move(*found);
    }
    was_there = false;
    if (kind == Kind::directory) return root.make_directories(path);
    (void)root.make_directories(parent_of(path));
    (void)root.open_at(path, O_CREAT | O_RDONLY | O_NOCTTY | O_NONBLOCK, 0644);
    return root.open_at(path, O_PATH);
}

/// /proc, /sys and /dev must be the container's own folders: where the image has a link there, what is later written "in
/// /proc" goes elsewhere (CVE-2023-27561, CVE-2019-19921, CVE-2026-41579).
void refuse_link(const Root& root, const std::string& path) {
    const auto found = root.find_at(path, O_PATH | O_NOFOLLOW);
    if (found && !S_ISDIR(look(found->get(), path).st_mode))
        fail(ErrorKind::invalid_argument, "filesystem {:?} must be mounted on ordinary directory", path);
}

std::string cleaned(std::string_view path) {
    std::vector<std::string> parts;
    for (std::string& part : split(path, '/')) {
        if (part == ".." && !parts.empty()) parts.pop_back();
        if (!part.empty() && part != "." && part != "..") parts.push_back(std::move(part));
    }
    return "/" + join(parts, "/");
}

void check_inside_proc(const std::string& destination, const PlannedMount& planned) {
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
            planned.source ? linux::filesystem_type(planned.source.get()) == linux::proc_magic : planned.mount->type == "proc";
        if (!is_proc) fail(ErrorKind::invalid_argument, "{:?} cannot be mounted because it is not of type proc", destination);
    } else if (destination.starts_with("/proc/") && std::ranges::count(allowed, destination) == 0) {
        fail(ErrorKind::invalid_argument, "{:?} cannot be mounted because it is inside /proc", destination);
    }
}

void finish(int mount, const MountOptions& options, const std::string& name) {
    if (options.propagation != 0) linux::change_mount(mount, {.propagation = options.propagation}, options.propagation_recursion, name);
    if (options.below.set != 0 || options.below.clear != 0) linux::change_mount(mount, options.below, Recursion::recursive, name);
}

void copy_tree(int from, int to, int depth);

void copy_entry(int from, int to, const char* name, int depth) {
    struct stat about{};
    if (::fstatat(from, name, &about, AT_SYMLINK_NOFOLLOW) != 0) fail_errno("stat {}", name);
    if (S_ISDIR(about.st_mode)) {
        if (::mkdirat(to, name, 0700) != 0) fail_errno("create {}", name);
        const Fd source{::openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
        const Fd target{::openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
        if (!source || !target) fail_errno("open {}", name);
        copy_tree(source.get(), target.get(), depth + 1);
    } else if (S_ISREG(about.st_mode)) {
        const Fd source{::openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)};
        const Fd target{::openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
        if (!source || !target) fail_errno("open {}", name);
        while (true) {
            const ssize_t copied = ::copy_file_range(source.get(), nullptr, target.get(), nullptr, std::size_t{1} << 20U, 0);
            if (copied < 0) {
                write_all(target.get(), read_all(source.get(), name, std::size_t{1} << 30U), name);
                break;
            }
            if (copied == 0) break;
        }
    } else if (S_ISLNK(about.st_mode)) {
        std::array<char, 4097> text{};
        if (::readlinkat(from, name, text.data(), text.size() - 1) < 0) fail_errno("read link {}", name);
        if (::symlinkat(text.data(), to, name) != 0) fail_errno("create link {}", name);
    } else if (::mknodat(to, name, about.st_mode, about.st_rdev) != 0) {
        fail_errno("create {}", name);
    }
    if (::fchownat(to, name, about.st_uid, about.st_gid, AT_SYMLINK_NOFOLLOW) != 0) fail_errno("change the owner of {}", name);
    if (!S_ISLNK(about.st_mode) && ::fchmodat(to, name, about.st_mode & 07777U, 0) != 0) fail_errno("change the mode of {}", name);
}

void copy_tree(int from, int to, int depth) {
    if (depth > 256) fail(ErrorKind::invalid_argument, "tmpcopyup: nested too deeply");
    alignas(8) std::array<char, 32768> buffer{};
    struct Entry {
        std::uint64_t inode;
        std::int64_t offset;
        unsigned short size;
        unsigned char type;
        char name[1];
    };
    for (ssize_t got = 0; (got = ::getdents64(from, buffer.data(), buffer.size())) > 0;) {
        for (ssize_t at = 0; at < got;) {
            const auto* entry = reinterpret_cast<const Entry*>(buffer.data() + at);
            at += entry->size;
            const std::string_view name{entry->name};
            if (name != "." && name != "..") copy_entry(from, to, entry->name, depth);
        }
    }
}

void mount_new(const Plan&, Progress& progress, const PlannedMount& planned, const std::string& destination) {
    const oci::Mount& mount = *planned.mount;
    if (mount.type == "proc" || mount.type == "sysfs" || destination == "/dev") refuse_link(*progress.root, destination);
    bool was_there = false;
    const Fd target = mount_point(*progress.root, destination, Kind::directory, was_there);

    std::vector<std::string> options = planned.options.filesystem;
    const bool has_mode = std::ranges::any_of(options, [](const auto& each) { return each.starts_with("mode="); });
    if (mount.type == "tmpfs" && was_there && !has_mode)
        options.push_back(fmt::format("mode={:o}", look(target.get(), destination).st_mode & 07777U));
    const std::string& source = mount.source.empty() ? mount.type : mount.source;

    // A read-only mount is filled first.
    linux::MountChange attributes = planned.options.top;
    const bool copy = planned.options.copy_up && was_there;
    const std::uint64_t later = copy ? attributes.set & MOUNT_ATTR_RDONLY : 0;
    Fd made = linux::make_filesystem(mount.type.c_str(), source.c_str(), options, attributes.set & ~later);
    if (copy) {
        const Fd from = progress.root->open_at(destination, O_RDONLY | O_DIRECTORY);
        const Fd to{::openat(made.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
        copy_tree(from.get(), to.get(), 0);
        if (later != 0) linux::change_mount(made.get(), {.set = later}, Recursion::top_only, destination);
    }
    linux::attach_mount(made.get(), target.get(), destination);
    finish(made.get(), planned.options, destination);
    if (destination == "/proc" && options.empty() && (attributes.set & MOUNT_ATTR_RDONLY) == 0) progress.proc = std::move(made);
}

void mount_bind(Progress& progress, const PlannedMount& planned, const std::string& destination) {
    const bool directory = S_ISDIR(look(planned.source.get(), planned.mount->source).st_mode);
    bool was_there = false;
    const Fd target = mount_point(*progress.root, destination, directory ? Kind::directory : Kind::file, was_there);
    if (S_ISDIR(look(target.get(), destination).st_mode) != directory)
        throw Error(
            ErrorKind::invalid_argument,
            fmt::format("mount {} on {}: {}", planned.mount->source, destination,
                        "not a directory: Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host "
                        "path exists and is the expected type"),
            ENOTDIR);
    linux::attach_mount(planned.source.get(), target.get(), destination);
    const MountOptions& options = planned.options;
    if (options.propagation == 0) linux::change_mount(planned.source.get(), {.propagation = MS_SLAVE}, Recursion::recursive, destination);
    finish(planned.source.get(), options, destination);
    if (options.top.set != 0 || options.top.clear != 0)
        linux::change_mount(planned.source.get(), options.top, Recursion::top_only, destination);
}

void mount_one(const Plan& plan, Progress& progress, const PlannedMount& planned) {
    const std::string destination = cleaned(planned.mount->destination);
    if (destination == "/") fail(ErrorKind::invalid_argument, "the root cannot be a mount's destination");
    check_inside_proc(destination, planned);
    if (planned.options.remount) {
        const Fd target = progress.root->open_at(destination, O_PATH);
        linux::change_mount(target.get(), planned.options.top, Recursion::top_only, destination);
    } else if (planned.source) {
        mount_bind(progress, planned, destination);
    } else if (is_of_cgroups(planned)) {
        bool was_there = false;
        const Fd target = mount_point(*progress.root, destination, Kind::directory, was_there);
        mount_cgroups(plan, progress, planned, target.get());
    } else {
        mount_new(plan, progress, planned, destination);
    }
}

/// Instead of a node of its own, where mknod is not for who makes it: the host's, which must be the one that was asked for.
void bind_node(int directory, const std::string& name, const oci::Device& device, mode_t type, dev_t number) {
    const Fd source = linux::copy_mount(AT_FDCWD, device.path.c_str(), Recursion::top_only);
    const struct stat about = look(source.get(), device.path);
    if ((about.st_mode & S_IFMT) != type || (type != S_IFIFO && about.st_rdev != number))
        fail(ErrorKind::invalid_argument, "device {}: the host's is another one, and none can be made here", device.path);
    const Fd file{::openat(directory, name.c_str(), O_CREAT | O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0644)};
    if (!file) fail_errno("create {}", device.path);
    linux::attach_mount(source.get(), file.get(), device.path);
}

void make_node(const Plan& plan, const Root& root, const oci::Device& device) {
    const std::string path = cleaned(device.path);
    const Fd directory = root.make_directories(parent_of(path));
    const std::string name = path.substr(path.rfind('/') + 1);
    const mode_t type = device.type == "b" ? S_IFBLK : device.type == "p" ? S_IFIFO : S_IFCHR;
    const dev_t number = ::makedev(static_cast<unsigned>(device.major), static_cast<unsigned>(device.minor));
    if (plan.in_user_namespace && type != S_IFIFO) return bind_node(directory.get(), name, device, type, number);
    const mode_t mode = device.file_mode.value_or(0666) & 07777U;
    if (::mknodat(directory.get(), name.c_str(), type | mode, number) != 0) {
        if (errno == EPERM) return bind_node(directory.get(), name, device, type, number);  // The caller is in a user namespace itself.
        struct stat about{};
        if (errno != EEXIST) fail_errno("create device {}", path);
        if (::fstatat(directory.get(), name.c_str(), &about, AT_SYMLINK_NOFOLLOW) != 0 || (about.st_mode & S_IFMT) != type ||
            about.st_rdev != number) {
            errno = EEXIST;
            fail_errno("create device {}", path);
        }
    }
    if ((device.uid.value_or(0) != 0 || device.gid.value_or(0) != 0) &&
        ::fchownat(directory.get(), name.c_str(), device.uid.value_or(0), device.gid.value_or(0), AT_SYMLINK_NOFOLLOW) != 0)
        fail_errno("change the owner of {}", path);
}

void make_link(int directory, const char* target, const char* name) {
    if (::symlinkat(target, directory, name) != 0 && errno != EEXIST) fail_errno("create link /dev/{}", name);
}

void cover(Cover& with, int target, const std::string& path) {
    const Fd another = with.is_attached ? linux::copy_mount(with.mount.get(), "", Recursion::top_only) : Fd{};
    linux::attach_mount(another ? another.get() : with.mount.get(), target, path);
    with.is_attached = true;
}

void mask(Progress& progress, const std::string& path, Cover& empty) {
    const auto target = progress.root->find_at(path, O_PATH);
    if (!target) return;
    if (S_ISDIR(look(target->get(), path).st_mode)) {
        if (!empty.mount) empty.mount = linux::make_filesystem("tmpfs", "tmpfs", {"nr_blocks=1", "nr_inodes=1"}, MOUNT_ATTR_RDONLY);
        return cover(empty, target->get(), path);
    }
    // Our own copy of the host's /dev/null: the container's may be a link by now (CVE-2025-31133).
    if (!is_left_out("CVE-2025-31133")) return cover(progress.null, target->get(), path);
    const Fd its_null = progress.root->open_at("/dev/null", O_PATH);
    linux::attach_mount(linux::copy_mount(its_null.get(), "", Recursion::top_only).get(), target->get(), path);
}

/// What the terminal is mounted on: never what a link of the image leads to (CVE-2025-52565).
Fd console_target(const Root& root) {
    bool was_there = false;
    if (is_left_out("CVE-2025-52565")) return mount_point(root, "/dev/console", Kind::file, was_there);
    auto found = root.find_at("/dev/console", O_PATH | O_NOFOLLOW);
    if (!found) return mount_point(root, "/dev/console", Kind::file, was_there);
    if (S_ISLNK(look(found->get(), "/dev/console").st_mode)) fail(ErrorKind::invalid_argument, "/dev/console of the container is a link");
    return std::move(*found);
}

/// The mount namespace is a copy of the creator's.
void go_to_own_mounts() {
    // A creator in a chroot has another root than its mount namespace, and whoever joins that later, as exec does, is at the
    // namespace's: the host's files. Joining one's own namespace goes to its root, which the container's then replaces.
    const Fd own{::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC)};
    if (!own || ::setns(own.get(), CLONE_NEWNS) != 0) fail_errno("go to the root of the mount namespace");
    // What is mounted in it must not reach the host.
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) fail_errno("make the mounts our own");
}

/// The host's null device, attached nowhere.
Fd copy_null() {
    Fd null = linux::copy_mount(AT_FDCWD, "/dev/null", Recursion::top_only);
    linux::change_mount(null.get(), {.propagation = MS_PRIVATE}, Recursion::top_only, "/dev/null");
    const struct stat about = look(null.get(), "/dev/null");
    if (!S_ISCHR(about.st_mode) || about.st_rdev != ::makedev(1, 3))
        fail(ErrorKind::system, "/dev/null of the host is not the null device");
    return null;
}

}  // namespace

void attach_rootfs(const Plan& plan, Progress& progress) {
    if (plan.empty_mounts < 0) go_to_own_mounts();
    if (!plan.linux->masked_paths.empty()) progress.null.mount = copy_null();
    if (plan.empty_mounts >= 0 && (::setns(plan.empty_mounts, CLONE_NEWNS) != 0 || ::unshare(CLONE_NEWNS) != 0))
        fail_errno("begin from an empty mount namespace");

    // Attached over the root: "/" goes on to mean what is below it.
    const Fd below{::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)};
    linux::attach_mount(plan.rootfs.get(), below.get(), plan.rootfs_name);
    const Fd copy{::fcntl(plan.rootfs.get(), F_DUPFD_CLOEXEC, 3)};
    linux::change_mount(copy.get(), {.propagation = MS_PRIVATE}, Recursion::recursive, plan.rootfs_name);
    progress.root.emplace(Root::at(Fd{::fcntl(copy.get(), F_DUPFD_CLOEXEC, 3)}));
}

void mount_all(const Plan& plan, Progress& progress) {
    for (const PlannedMount& planned : plan.mounts) {
        try {
            mount_one(plan, progress, planned);
        } catch (Error& error) {
            error.add_context(fmt::format("error mounting {:?} to rootfs at {:?}",
                                          planned.mount->source.empty() ? planned.mount->type : planned.mount->source,
                                          planned.mount->destination));
            throw;
        }
    }
}

void make_devices(const Plan& plan, Progress& progress) {
    const bool bound =
        std::ranges::any_of(plan.mounts, [](const auto& each) { return each.source && cleaned(each.mount->destination) == "/dev"; });
    if (bound) return;
    refuse_link(*progress.root, "/dev");
    const Fd dev = progress.root->make_directories("/dev");
    static constexpr std::array<std::tuple<const char*, int, int>, 6> defaults{
        {{"/dev/null", 1, 3}, {"/dev/zero", 1, 5}, {"/dev/full", 1, 7}, {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0}}};
    for (const auto& [path, major_number, minor_number] : defaults) {
        const bool given = std::ranges::any_of(plan.linux->devices, [&](const auto& each) { return cleaned(each.path) == path; });
        if (given) continue;
        oci::Device device;
        device.path = path;
        device.type = "c";
        device.major = major_number;
        device.minor = minor_number;
        make_node(plan, *progress.root, device);
    }
    for (const oci::Device& device : plan.linux->devices) {
        if (cleaned(device.path) != "/dev/ptmx") make_node(plan, *progress.root, device);
    }
    make_link(dev.get(), "/proc/self/fd", "fd");
    make_link(dev.get(), "/proc/self/fd/0", "stdin");
    make_link(dev.get(), "/proc/self/fd/1", "stdout");
    make_link(dev.get(), "/proc/self/fd/2", "stderr");
    if (::unlinkat(dev.get(), "ptmx", 0) != 0 && errno != ENOENT) fail_errno("remove /dev/ptmx");
    make_link(dev.get(), "pts/ptmx", "ptmx");
}

void open_terminal(const Plan& plan, Progress& progress) {
    if (!plan.process->terminal) return;
    const Fd master = progress.root->open_at("/dev/pts/ptmx", O_RDWR | O_NOCTTY);
    if (linux::filesystem_type(master.get()) != linux::devpts_magic) fail(ErrorKind::invalid_argument, "/dev/pts is not a devpts");
    const int unlocked = 0;
    if (::ioctl(master.get(), TIOCSPTLCK, &unlocked) != 0) fail_errno("unlock the terminal");
    // The slave by its master, never by a name in a folder that is the container's (CVE-2025-52565).
    progress.terminal = Fd{::ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)};
    if (!progress.terminal) fail_errno("open the terminal");
    if (!S_ISCHR(look(progress.terminal.get(), "terminal").st_mode)) fail(ErrorKind::system, "the terminal is not a character device");
    if (plan.process->console_size) {
        const winsize size{plan.process->console_size->height, plan.process->console_size->width, 0, 0};
        if (::ioctl(master.get(), TIOCSWINSZ, &size) != 0) fail_errno("size the terminal");
    }
    if (!plan.mounts.empty() || plan.rootfs) {
        const Fd target = console_target(*progress.root);
        const Fd console = linux::copy_mount(progress.terminal.get(), "", Recursion::top_only);
        linux::attach_mount(console.get(), target.get(), "/dev/console");
    }
    progress.channel->send(Word::terminal, master.get());
}

void protect_paths(const Plan& plan, Progress& progress) {
    for (const std::string& path : plan.linux->readonly_paths) {
        const auto target = progress.root->find_at(path, O_PATH);
        if (!target) continue;
        const Fd copy = linux::copy_mount(target->get(), "", Recursion::recursive);
        linux::change_mount(copy.get(), {.set = MOUNT_ATTR_RDONLY}, Recursion::top_only, path);
        linux::attach_mount(copy.get(), target->get(), path);
    }
    Cover empty;
    for (const std::string& path : plan.linux->masked_paths) mask(progress, path, empty);
}

void enter_root(const Plan& plan, Progress& progress) {
    if (plan.pivot && plan.empty_mounts < 0) {
        linux::replace_root(progress.root->fd());
    } else {
        if (::fchdir(progress.root->fd()) != 0) fail_errno("enter the root");
        // Nothing of the host is below an empty namespace's root: pivot_root, which looks at every process of the machine, has nothing to
        // do.
        if (plan.empty_mounts < 0 && ::mount(".", "/", nullptr, MS_MOVE, nullptr) != 0) fail_errno("move the root");
        if (::chroot(".") != 0) fail_errno("chroot");
    }
    if (::chdir("/") != 0) fail_errno("enter the root");
    const Fd root{::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)};
    Recursion recursion{};
    if (const unsigned long propagation = parse_propagation(plan.linux->rootfs_propagation, recursion))
        linux::change_mount(root.get(), {.propagation = propagation}, recursion, "/");
    if (plan.spec->root && plan.spec->root->readonly) linux::change_mount(root.get(), {.set = MOUNT_ATTR_RDONLY}, Recursion::top_only, "/");
}

}  // namespace grua::runtime
