#include "runtime/sysctl.hpp"

#include "base/error.hpp"

#include <sched.h>
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

}  // namespace grua::runtime
