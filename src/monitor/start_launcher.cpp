#include "base/error.hpp"
#include "base/test_points.hpp"
#include "monitor/launcher.hpp"
#include "monitor/socket.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
extern "C" {  // glibc before 2.37 forgets it.
#include <sys/pidfd.h>
}
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>
#include <csignal>

namespace grua::monitor {
namespace {

constexpr int launcher_socket = 3;
constexpr int above_the_low = 10;  // The child's 3 must not replace what is executed.

Fd sealed_copy(const std::string& path) {
    const Fd source(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!source) fail_errno("open {}", path);
    if (is_left_out("CVE-2019-5736")) return Fd(::fcntl(source.get(), F_DUPFD_CLOEXEC, above_the_low));
    const Fd low(::memfd_create("grua-runtime", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!low) fail_errno("memfd_create");
    for (;;) {
        const ssize_t copied = ::sendfile(low.get(), source.get(), nullptr, std::size_t{1} << 30U);
        if (copied < 0) fail_errno("copy {}", path);
        if (copied == 0) break;
    }
    // The kernel waits 0.15 s for whoever has one of its pages in hand (reclaim, migration), then it is busy.
    for (int tries = 0; ::fcntl(low.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0; ++tries) {
        if (errno != EBUSY || tries == 20) fail_errno("seal {}", path);
    }
    Fd high(::fcntl(low.get(), F_DUPFD_CLOEXEC, above_the_low));
    if (!high) fail_errno("duplicate a descriptor");
    return high;
}

}  // namespace

LauncherProcess start_launcher(const std::string& runtime_path) {
    const Fd program = sealed_copy(runtime_path);
    auto [ours, theirs] = socket_pair();
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    ::posix_spawn_file_actions_adddup2(&actions, theirs.get(), launcher_socket);
    sigset_t signals;
    ::sigemptyset(&signals);
    ::posix_spawnattr_setsigmask(&attributes, &signals);
    ::sigfillset(&signals);
    ::posix_spawnattr_setsigdefault(&attributes, &signals);
    ::posix_spawnattr_setflags(&attributes, static_cast<short>(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID));
    std::string name = "grua-runtime";
    std::string argument = "launcher";
    char* const arguments[] = {name.data(), argument.data(), nullptr};
#if defined(GRUA_UNPROTECTED) || defined(GRUA_CRASH_POINTS)
    char** const environment = environ;  // The runtime leaves out, and fails at, what gruad was told to.
#else
    char* const environment[] = {nullptr};
#endif
    const std::string path = fmt::format("/proc/self/fd/{}", program.get());
    LauncherProcess out;
    const int error = ::posix_spawn(&out.pid, path.c_str(), &actions, &attributes, arguments, environment);
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
    if (error != 0) {
        errno = error;
        fail_errno("execute {}", runtime_path);
    }
    out.pidfd = Fd(::pidfd_open(out.pid, 0));
    if (!out.pidfd) fail_errno("pidfd_open");
    out.socket = std::move(ours);
    return out;
}

}  // namespace grua::monitor
