#include "layers/overlay.hpp"

#include "base/error.hpp"
#include "base/fault_point.hpp"
#include "base/thread.hpp"

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <filesystem>

// <sys/mount.h> and <linux/mount.h> define the same names.
extern "C" int mount(const char* source, const char* target, const char* type, unsigned long flags, const void* data) noexcept;

namespace grua::layers {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t stack_limit = 500;  // of overlayfs (OVL_MAX_STACK), the upper one not counted
constexpr std::size_t layer_limit = 2 * stack_limit - 1;
constexpr std::size_t string_limit = 255;  // of one fsconfig(2) value
constexpr std::size_t page_size = 4096;    // of mount(2)'s options, whatever the machine's pages are

void configure(int context, unsigned command, const char* key, const char* value) {
    if (::syscall(SYS_fsconfig, context, command, key, value, 0) != 0) fail_errno("overlay: {} {}", key, value ? value : "");
}

/// A folder as a value for fsconfig(2); one whose path is too long is named by a descriptor, which must stay open.
class Folder {
public:
    explicit Folder(const std::string& path) : text_(path) {
        if (path.size() <= string_limit) return;
        fd_ = Fd{::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
        if (!fd_) fail_errno("overlay: open {}", path);
        text_ = fmt::format("/proc/self/fd/{}", fd_.get());
    }
    const char* text() const { return text_.c_str(); }

private:
    std::string text_;
    Fd fd_;
};

/// Does this kernel take layers one by one (Linux 6.8)? Before 6.5 overlayfs gathers whatever it is given and looks at it
/// when it mounts, so that a made-up option tells those kernels.
bool takes_layers_one_by_one() {
    const Fd context{static_cast<int>(::syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC))};
    if (!context) fail_errno("overlay: fsopen");
    const auto takes = [&](unsigned command, const char* key, const char* value) {
        return ::syscall(SYS_fsconfig, context.get(), command, key, value, 0) == 0;
    };
    return !takes(FSCONFIG_SET_FLAG, "made-up", nullptr) && takes(FSCONFIG_SET_STRING, "lowerdir+", "/");
}

Fd mount_by_options(const Overlay& overlay) {
    const Fd context{static_cast<int>(::syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC))};
    if (!context) fail_errno("overlay: fsopen");
    const int fd = context.get();
    configure(fd, FSCONFIG_SET_STRING, "source", "overlay");
    // One option for each layer: no page's worth of text bounds their number.
    for (const std::string& each : overlay.lower) {
        configure(fd, FSCONFIG_SET_STRING, "lowerdir+", Folder{each}.text());
    }
    if (!overlay.upper.empty()) {
        configure(fd, FSCONFIG_SET_STRING, "upperdir", Folder{overlay.upper}.text());
        configure(fd, FSCONFIG_SET_STRING, "workdir", Folder{overlay.work}.text());
        if (overlay.omit_syncs) configure(fd, FSCONFIG_SET_FLAG, "volatile", nullptr);
    }
    // index would refuse an upper that is still mounted somewhere; metacopy and redirects would follow what a layer claims,
    // and a folder that was renamed by a redirect is not in the upper, where diff and commit look.
    configure(fd, FSCONFIG_SET_STRING, "index", "off");
    configure(fd, FSCONFIG_SET_STRING, "redirect_dir", "nofollow");
    configure(fd, FSCONFIG_SET_STRING, "metacopy", "off");
    if (::syscall(SYS_fsconfig, fd, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
        fail_errno("overlay: mount {} layers", overlay.lower.size());
    const unsigned attributes = overlay.read_only ? MOUNT_ATTR_RDONLY : 0U;
    Fd mount{static_cast<int>(::syscall(SYS_fsmount, fd, FSMOUNT_CLOEXEC, attributes))};
    if (!mount) fail_errno("overlay: fsmount");
    return mount;
}

std::string escaped(const std::string& path) {
    std::string out;
    for (const char c : path) {
        if (c == ':' || c == ',' || c == '\\') out += '\\';
        out += c;
    }
    return out;
}

/// The options with paths seen from `base`: for layers that are neighbours these are short.
std::string option_text(const Overlay& overlay, const fs::path& base) {
    const auto from_base = [&](const std::string& path) { return escaped(fs::path(path).lexically_relative(base).string()); };
    std::string text = "index=off,metacopy=off,redirect_dir=nofollow";
    if (overlay.omit_syncs && !overlay.upper.empty()) text += ",volatile";
    if (!overlay.upper.empty()) text += fmt::format(",upperdir={},workdir={}", from_base(overlay.upper), from_base(overlay.work));
    for (const std::string& each : overlay.lower) {
        text += &each == &overlay.lower.front() ? ",lowerdir=" : ":";
        text += from_base(each);
    }
    if (text.size() >= page_size) {
        fail(ErrorKind::invalid_argument, "{} layers are more than this kernel mounts (Linux 6.8 and newer have no such limit)",
             overlay.lower.size());
    }
    return text;
}

/// In a thread with a working directory and a mount namespace of its own, which both end with it: the machine sees nothing.
Fd mount_in_private(const Overlay& overlay, const fs::path& base, const std::string& options) {
    if (::unshare(CLONE_FS | CLONE_NEWNS) != 0) fail_errno("overlay: unshare");
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) fail_errno("overlay: make the mounts private");
    if (::chdir(base.c_str()) != 0) fail_errno("overlay: enter {}", base.string());
    // What it covers does not matter.
    if (::mount("overlay", ".", "overlay", 0, options.c_str()) != 0) fail_errno("overlay: mount {} layers", overlay.lower.size());
    const Fd root{::open(base.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (!root) fail_errno("overlay: open the mount");
    const std::string path = fmt::format("/proc/self/task/{}/fd/{}", ::gettid(), root.get());
    if (overlay.read_only && ::mount(nullptr, path.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr) != 0) {
        fail_errno("overlay: make the mount read-only");
    }
    Fd detached{static_cast<int>(::syscall(SYS_open_tree, root.get(), "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH))};
    if (!detached) fail_errno("overlay: detach the mount");
    return detached;
}

}  // namespace

Fd mount_overlay_by_text(const Overlay& overlay) {
    const fs::path base = fs::path(overlay.lower.front()).parent_path();
    const std::string options = option_text(overlay, base);
    Fd detached;
    in_thread([&] { detached = mount_in_private(overlay, base, options); });
    return detached;
}

Fd mount_overlay(const Overlay& overlay) {
    fault_point("layers:mount");
    static const bool one_by_one = takes_layers_one_by_one();
    const auto mount_one = [](const Overlay& what) { return one_by_one ? mount_by_options(what) : mount_overlay_by_text(what); };
    if (overlay.lower.size() <= stack_limit) return mount_one(overlay);
    if (overlay.lower.size() > layer_limit)
        fail(ErrorKind::invalid_argument, "{} layers are more than can be mounted on each other ({})", overlay.lower.size(), layer_limit);
    // The lowest ones become one, which the kernel allows once: a stack on a stack.
    const auto first = overlay.lower.end() - static_cast<std::ptrdiff_t>(stack_limit);
    const Fd joined =
        mount_one({.lower = std::vector<std::string>(first, overlay.lower.end()), .upper = {}, .work = {}, .read_only = true});
    Overlay upper = overlay;
    upper.lower.erase(upper.lower.begin() + (first - overlay.lower.begin()), upper.lower.end());
    upper.lower.push_back(fmt::format("/proc/self/fd/{}", joined.get()));
    return while_doing(fmt::format("{} layers", overlay.lower.size()), [&] { return mount_one(upper); });
}

}  // namespace grua::layers
