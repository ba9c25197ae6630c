#include "monitor/launcher.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "linux/mounts.hpp"
#include "monitor/messages.hpp"
#include "monitor/monitor.hpp"
#include "monitor/socket.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <array>
#include <csignal>
#include <cstdint>

namespace grua::monitor {
namespace {

/// The gruad that asks for it is told where it is not.
bool is_understood(const Launch& launch, const Fd& control) {
    try {
        check_version(launch.version, "gruad");
        return true;
    } catch (const Error& error) {
        (void)send(control.get(), encode(Failed{.error = to_failure(error)}), {}, true);
        return false;
    }
}

/// None where the launcher is in a user namespace: proc may only be mounted there where another one is seen.
Fd make_empty_mounts() {
    try {
        constexpr ino_t initial = 0xEFFFFFFD;  // As the kernel numbers the first user namespace.
        struct stat user{};
        if (::stat("/proc/self/ns/user", &user) != 0 || user.st_ino != initial) return {};
        return linux::make_empty_mount_namespace();
    } catch (const Error& error) {
        log::warn("containers start from a copy of the host's mounts: {}", error.what());
        return {};
    }
}

void become_monitor(int socket, const Launch& launch, MonitorFds fds) {
    ::close(socket);
    (void)std::signal(SIGCHLD, SIG_DFL);
    ::setsid();
    // A monitor outlives gruad: it must not hold what gruad's standard error leads to.
    const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    for (const int each : {0, 1, 2}) (void)::dup2(null.get(), each);
    ::prctl(PR_SET_NAME, "grua-monitor");
    ::_exit(monitor_main(launch, std::move(fds)));
}

}  // namespace

MonitorFds sort_fds(const Launch& launch, std::vector<Fd>& given) {
    if (launch.fds.size() != given.size())
        fail(ErrorKind::invalid_argument, "a launch names {} descriptors and has {}", launch.fds.size(), given.size());
    MonitorFds out;
    for (std::size_t i = 0; i < given.size(); ++i) {
        const std::string& name = launch.fds[i];
        if (name == "control") out.control = std::move(given[i]);
        if (name == "spec") out.spec = std::move(given[i]);
        if (name == "rootfs") out.rootfs = std::move(given[i]);
        if (name == "netns") out.network_namespace = std::move(given[i]);
        if (name == "kept") out.kept.push_back(std::move(given[i]));
        constexpr std::string_view of_namespace = "namespace:";
        constexpr std::string_view of_mount = "mount:";
        constexpr std::string_view of_held = "held:";
        if (name.starts_with(of_namespace)) out.namespaces[name.substr(of_namespace.size())] = std::move(given[i]);
        if (name.starts_with(of_held)) out.held[name.substr(of_held.size())] = std::move(given[i]);
        if (name.starts_with(of_mount)) out.mounts[name.substr(of_mount.size())] = std::move(given[i]);
    }
    if (!out.control || !out.spec) fail(ErrorKind::invalid_argument, "a launch without control or spec");
    return out;
}

int launcher_main(int socket) {
    ::prctl(PR_SET_NAME, "grua-launcher");
    (void)::close_range(static_cast<unsigned>(socket) + 1, ~0U, 0);
    (void)::fcntl(socket, F_SETFD, FD_CLOEXEC);
    // What posix_spawn starts has glibc's own signals ignored, and containers would inherit it; glibc's calls refuse these two.
    constexpr std::array<std::uint64_t, 4> by_default{};
    for (const int number : {32, 33}) (void)::syscall(SYS_rt_sigaction, number, by_default.data(), nullptr, sizeof(std::uint64_t));
    Fd empty_mounts = make_empty_mounts();
    // Monitors are reaped by the kernel: nobody asks for their status.
    (void)std::signal(SIGCHLD, SIG_IGN);
    for (;;) {
        try {
            Packet packet;
            if (receive(socket, packet) == Received::closed) return 0;
            const Launch launch = decode<Launch>(packet.text);
            if (launch.type != Launch::name) continue;
            MonitorFds fds = sort_fds(launch, packet.fds);
            if (!is_understood(launch, fds.control)) continue;
            const pid_t pid = ::fork();
            if (pid < 0) fail_errno("fork a monitor");
            if (pid != 0) continue;
            fds.empty_mounts = std::move(empty_mounts);
            become_monitor(socket, launch, std::move(fds));
        } catch (const Error& error) {
            // gruad sees the end of that container's connection.
            log::error("launch: {}", error.what());
            if (error.os_error() == EBADF || error.os_error() == ENOTSOCK) return 1;
        }
    }
}

}  // namespace grua::monitor
