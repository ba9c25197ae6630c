#include "engine/spec/apparmor_profile.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/memory_file.hpp"
#include "linux/apparmor.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include <array>
#include <csignal>
#include <string_view>

namespace grua::engine {
namespace {

/// What a container needs is allowed as a whole; what is refused are ways to the host that capabilities, masks and read-only mounts close
/// as well, for the day on which one of those fails.
constexpr std::string_view text = R"(#include <tunables/global>

profile grua-default flags=(attach_disconnected,mediate_deleted) {
  #include <abstractions/base>

  capability,
  file,
  network,
  umount,

  signal (receive) peer=unconfined,
  signal (send, receive) peer=grua-default,
  ptrace (read, readby, trace, tracedby) peer=grua-default,

  # Nothing of the container is mounted by itself: that takes a privileged one, which has no profile.
  deny mount,

  # Of /proc what is not a process's own, but for what a network or an IPC namespace has of its own.
  deny @{PROC}/* w,
  deny @{PROC}/{acpi,asound,bus,driver,fs,irq,pressure,scsi,sysvipc,tty}/** w,
  deny @{PROC}/sys/{abi,crypto,debug,dev,fs,user,vm}/** w,
  deny @{PROC}/sys/kernel/[^ms]* w,
  deny @{PROC}/sys/kernel/m[^s]* w,
  deny @{PROC}/sys/kernel/s[^eh]* w,
  deny @{PROC}/sys/kernel/*/** w,
  deny @{PROC}/{kcore,sysrq-trigger} rwklx,

  # Of /sys all but cgroups.
  deny /sys/{block,bus,class,dev,devices,hypervisor,kernel,module,power}/** wklx,
  deny /sys/fs/[^c]** wklx,
  deny /sys/fs/c[^g]** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}
)";

/// The parser's exit status, or -1.
int run_parser(const std::string& program) {
    const Fd input = memory_file(text, "apparmor profile");
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawn_file_actions_adddup2(&files, input.get(), STDIN_FILENO);
    ::posix_spawnattr_init(&attributes);
    sigset_t signals;
    ::sigemptyset(&signals);
    ::posix_spawnattr_setsigmask(&attributes, &signals);
    ::sigfillset(&signals);
    ::posix_spawnattr_setsigdefault(&attributes, &signals);
    ::posix_spawnattr_setflags(&attributes, static_cast<short>(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
    std::string name = program;
    std::string replace = "-Kr";  // Without the cache of the host's own profiles.
    char* const words[] = {name.data(), replace.data(), nullptr};
    pid_t pid = 0;
    const int error = ::posix_spawn(&pid, program.c_str(), &files, &attributes, words, environ);
    ::posix_spawn_file_actions_destroy(&files);
    ::posix_spawnattr_destroy(&attributes);
    int status = 0;
    if (error != 0) return -1;
    while (::waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) return -1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

bool load_default_profile() {
    try {
        if (linux::is_profile_loaded(default_profile_name)) return true;
        for (const char* program : {"/usr/sbin/apparmor_parser", "/sbin/apparmor_parser", "/usr/bin/apparmor_parser"}) {
            if (::access(program, X_OK) != 0) continue;
            if (run_parser(program) == 0 && linux::is_profile_loaded(default_profile_name)) return true;
            log::warn("AppArmor: {} does not load the profile {}: containers have none", program, default_profile_name);
            return false;
        }
        log::warn("AppArmor: this kernel has it, and the host has no apparmor_parser: containers have no profile");
    } catch (const Error& error) {
        log::warn("AppArmor: {}: containers have no profile", error.what());
    }
    return false;
}

}  // namespace grua::engine
