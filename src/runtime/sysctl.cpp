#include "runtime/sysctl.hpp"

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/files.hpp"
#include "linux/mounts.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/syscall.h>
#include <algorithm>
#include <array>

namespace grua::runtime {
namespace {

constexpr std::array<std::string_view, 8> of_ipc{"kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem",
                                                 "kernel/shmall", "kernel/shmmax", "kernel/shmmni", "kernel/shm_rmid_forced"};

void check_one(std::string_view name, std::string_view path, std::uint64_t own) {
    const auto has = [&](std::uint64_t flag) { return (own & flag) != 0; };
    if (std::ranges::count(of_ipc, path) != 0 || path.starts_with("fs/mqueue/")) {
        if (!has(CLONE_NEWIPC)) fail(ErrorKind::invalid_argument, "sysctl {:?} is not allowed in the hosts ipc namespace", name);
        return;
    }
    if (path.starts_with("net/")) {
        if (!has(CLONE_NEWNET)) fail(ErrorKind::invalid_argument, "sysctl {:?} not allowed in host network namespace", name);
        return;
    }
    if (path == "kernel/domainname" && has(CLONE_NEWUTS)) return;
    if (path == "kernel/hostname" && has(CLONE_NEWUTS))
        fail(ErrorKind::invalid_argument, "sysctl {:?} is not allowed as it conflicts with the OCI \"hostname\" field", name);
    if (path.starts_with("user/") && has(CLONE_NEWUSER)) return;
    fail(ErrorKind::invalid_argument, "sysctl {:?} is not in a separate kernel namespace", name);
}

}  // namespace

std::string sysctl_path(std::string_view name) {
    std::string path{name};
    const std::size_t first = path.find_first_of("./");
    if (first != std::string::npos && path[first] == '.') {
        for (char& c : path) c = c == '.' ? '/' : c == '/' ? '.' : c;
    }
    const std::string whole = "/" + path + "/";
    if (whole.contains("//") || whole.contains("/../") || whole.contains("/./"))
        fail(ErrorKind::invalid_argument, "sysctl {:?} is not a parameter's name", name);
    return path;
}

void check_sysctls(const std::map<std::string, std::string>& sysctls, std::uint64_t own) {
    for (const auto& [name, value] : sysctls) check_one(name, sysctl_path(name), own);
}

void write_sysctls(const std::map<std::string, std::string>& sysctls, int proc) {
    if (linux::filesystem_type(proc) != linux::proc_magic) fail(ErrorKind::system, "the private proc mount is not proc");
    for (const auto& [name, value] : sysctls) {
        const std::string path = "sys/" + sysctl_path(name);
        open_how how{};
        how.flags = O_WRONLY | O_CLOEXEC;
        how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
        const Fd fd{static_cast<int>(::syscall(SYS_openat2, proc, path.c_str(), &how, sizeof how))};
        if (!fd && errno == ENOENT) fail(ErrorKind::invalid_argument, "sysctl {:?}: this kernel does not have it", name);
        if (!fd) fail_errno("open sysctl {}", name);
        if (::write(fd.get(), value.data(), value.size()) < 0) fail_errno("write {:?} to sysctl {}", value, name);
    }
}

}  // namespace grua::runtime
