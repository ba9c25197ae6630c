// Devices, the terminal, and what of /proc and /sys is hidden or read-only.
#include "base/error.hpp"
#include "base/test_points.hpp"
#include "linux/mounts.hpp"
#include "linux/process.hpp"
#include "runtime/plan.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <algorithm>
#include <array>
#include <tuple>

namespace grua::runtime {
namespace {

using linux::Recursion;

struct stat look(int fd, std::string_view name) {
    struct stat about{};
    if (::fstat(fd, &about) != 0) fail_errno("stat {}", name);
    return about;
}

std::string_view parent_of(std::string_view path) { return path.substr(0, path.rfind('/')); }

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

struct Masks {
    Cover file;
    Cover directory;
};

void cover(Cover& with, int target, const std::string& path) {
    const Fd another = with.is_attached ? linux::copy_mount(with.mount.get(), "", Recursion::top_only) : Fd{};
    linux::attach_mount(another ? another.get() : with.mount.get(), target, path);
    with.is_attached = true;
}

/// The null device of a file system that nobody else has. It is attached for a moment: older kernels copy nothing of what is not.
Fd copy_private_null(const Root& root) {
    const Fd folder = linux::make_filesystem("tmpfs", "tmpfs", {"nr_blocks=1", "nr_inodes=2"}, 0);
    if (::mknodat(folder.get(), "null", S_IFCHR | 0666, ::makedev(1, 3)) != 0) return {};  // Not in a user namespace.
    linux::attach_mount(folder.get(), root.fd(), "the root");
    Fd null = linux::copy_mount(folder.get(), "null", Recursion::top_only);
    if (::fchdir(folder.get()) != 0 || ::umount2(".", MNT_DETACH) != 0 || ::chdir("/") != 0) fail_errno("take a mount off the root");
    return null;
}

/// The container's own where we have made it ourselves, so that no mode or owner that is changed through a mask is the host's. What else is
/// there may be anything (CVE-2025-31133). In a user namespace no node can be made; there the host's is bound, which nobody inside owns.
Fd copy_null(const Plan& plan, const Progress& progress) {
    if (progress.null) return linux::copy_mount(progress.null.get(), "", Recursion::top_only);
    Fd null = plan.in_user_namespace ? Fd{} : copy_private_null(*progress.root);
    if (null) return null;
    null = linux::copy_mount(AT_FDCWD, "/dev/null", Recursion::top_only);
    linux::change_mount(null.get(), {.propagation = MS_PRIVATE}, Recursion::top_only, "/dev/null");
    if (!is_null_device(null.get())) fail(ErrorKind::system, "/dev/null of the host is not the null device");
    return null;
}

void mask(const Plan& plan, Progress& progress, const std::string& path, Masks& masks) {
    const auto target = progress.root->find_at(path, O_PATH);
    if (!target) return;
    if (S_ISDIR(look(target->get(), path).st_mode)) {
        if (!masks.directory.mount)
            masks.directory.mount = linux::make_filesystem("tmpfs", "tmpfs", {"nr_blocks=1", "nr_inodes=1"}, MOUNT_ATTR_RDONLY);
        return cover(masks.directory, target->get(), path);
    }
    if (is_left_out("CVE-2025-31133")) {
        const Fd its_null = progress.root->open_at("/dev/null", O_PATH);
        linux::attach_mount(linux::copy_mount(its_null.get(), "", Recursion::top_only).get(), target->get(), path);
        return;
    }
    if (!masks.file.mount) masks.file.mount = copy_null(plan, progress);
    cover(masks.file, target->get(), path);
}

/// What the terminal is mounted on: never what a link of the image leads to (CVE-2025-52565).
Fd console_target(const Root& root) {
    bool was_there = false;
    if (is_left_out("CVE-2025-52565")) return mount_point(root, "/dev/console", Root::Kind::file, was_there);
    auto found = root.find_at("/dev/console", O_PATH | O_NOFOLLOW);
    if (!found) return mount_point(root, "/dev/console", Root::Kind::file, was_there);
    if (S_ISLNK(look(found->get(), "/dev/console").st_mode)) fail(ErrorKind::invalid_argument, "/dev/console of the container is a link");
    return std::move(*found);
}

}  // namespace

void make_devices(const Plan& plan, Progress& progress) {
    const bool bound = std::ranges::any_of(
        plan.mounts, [](const auto& each) { return !each.source_path.empty() && cleaned(each.mount->destination) == "/dev"; });
    if (bound) return;
    need_folder(plan, *progress.root, "/dev");
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
    progress.null = Fd{::openat(dev.get(), "null", O_PATH | O_NOFOLLOW | O_CLOEXEC)};
    if (!progress.null || !is_null_device(progress.null.get())) progress.null = {};
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
    if (plan.plain_newlines) {
        termios settings{};
        if (::tcgetattr(progress.terminal.get(), &settings) != 0) fail_errno("ask the terminal for its settings");
        settings.c_oflag &= ~static_cast<tcflag_t>(ONLCR);
        if (::tcsetattr(progress.terminal.get(), TCSANOW, &settings) != 0) fail_errno("set up the terminal");
    }
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
    Masks masks;
    for (const std::string& path : plan.linux->masked_paths) mask(plan, progress, path, masks);
}

}  // namespace grua::runtime
