#include "linux/apparmor.hpp"

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/files.hpp"
#include "linux/mounts.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cstdint>
#include <cstring>
#include <vector>

namespace grua::linux {
namespace {

// Of linux/lsm.h, which headers before 6.8 have not.
constexpr long sys_lsm_set_self_attr = 460;
constexpr std::uint64_t lsm_apparmor = 104;
constexpr unsigned attribute_exec = 101;
struct LsmContext {
    std::uint64_t id;
    std::uint64_t flags;
    std::uint64_t size;
    std::uint64_t text_size;
};

/// Both give errno, or 0. ENOSYS where this kernel has no such call.
int set_by_call(const std::string& text) {
    std::vector<char> bytes(sizeof(LsmContext) + text.size() + 1);
    const LsmContext head{.id = lsm_apparmor, .flags = 0, .size = bytes.size(), .text_size = text.size() + 1};
    std::memcpy(bytes.data(), &head, sizeof head);
    std::memcpy(bytes.data() + sizeof head, text.c_str(), text.size() + 1);
    return ::syscall(sys_lsm_set_self_attr, attribute_exec, bytes.data(), static_cast<std::uint32_t>(bytes.size()), 0) == 0 ? 0 : errno;
}

int set_by_procfs(const std::string& text) {
    const Fd proc = make_filesystem("proc", "proc", {}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    Fd file{::openat(proc.get(), "thread-self/attr/apparmor/exec", O_WRONLY | O_CLOEXEC)};
    // Before 5.1.
    if (!file && errno == ENOENT) file = Fd{::openat(proc.get(), "thread-self/attr/exec", O_WRONLY | O_CLOEXEC)};
    if (!file) fail_errno("open what AppArmor takes a profile by");
    return ::write(file.get(), text.data(), text.size()) < 0 ? errno : 0;
}

}  // namespace

bool has_apparmor() {
    try {
        return read_file("/sys/module/apparmor/parameters/enabled").starts_with('Y');
    } catch (const Error&) {
        return false;
    }
}

void set_exec_profile(const std::string& profile) {
    const std::string text = "exec " + profile;
    int error = set_by_call(text);
    if (error == ENOSYS) error = set_by_procfs(text);
    if (error == ENOENT) fail(ErrorKind::not_found, "apparmor failed to apply profile: {} is not loaded", profile);
    errno = error;
    if (error != 0) fail_errno("apparmor failed to apply profile {}", profile);
}

bool is_profile_loaded(const std::string& profile) {
    const std::string all = read_file("/sys/kernel/security/apparmor/profiles", std::size_t{16} << 20U);
    return ("\n" + all).contains("\n" + profile + " (");
}

}  // namespace grua::linux
