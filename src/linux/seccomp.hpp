// System call filters: an OCI linux.seccomp section compiled to a classic BPF program, kept, and loaded.
//
// libseccomp knows the syscall tables and what a rule means; the program it makes is then laid out anew for the kernel that has
// to check, translate and dry-run it at each start of a container (seccomp_layout.hpp). A compiled program is kept in memory
// and in a folder, because compiling takes a hundred times as long as loading.
#pragma once

#include "base/fd.hpp"

#include <linux/filter.h>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::linux {

enum class SeccompAction : std::uint8_t { kill_thread, kill_process, trap, error, trace, allow, log, notify };
enum class SeccompOp : std::uint8_t { not_equal, less, less_equal, equal, greater_equal, greater, masked_equal };

/// "SCMP_ACT_ERRNO" and so on; nothing where OCI has no such name. SCMP_ACT_KILL is kill_thread.
std::optional<SeccompAction> seccomp_action(std::string_view name) noexcept;
/// "SCMP_CMP_EQ" and so on.
std::optional<SeccompOp> seccomp_op(std::string_view name) noexcept;

/// As OCI names what a profile can say here.
struct SeccompNames {
    std::vector<std::string_view> actions, operators, flags;
    std::vector<std::string_view> kernel_flags;  ///< Of the flags, those that the running kernel takes.
    std::vector<std::string> architectures;
};
SeccompNames seccomp_names();

struct SeccompArg {
    unsigned index = 0;
    std::uint64_t value = 0;      ///< masked_equal: the mask.
    std::uint64_t value_two = 0;  ///< masked_equal: what must be left.
    SeccompOp op = SeccompOp::equal;
};

struct SeccompSyscall {
    std::vector<std::string> names;
    SeccompAction action = SeccompAction::allow;
    std::optional<std::uint32_t> errno_ret;  ///< error: EPERM where not set; trace: the message.
    std::vector<SeccompArg> args;
};

/// OCI config-linux.md#seccomp.
struct SeccompProfile {
    SeccompAction default_action = SeccompAction::error;
    std::optional<std::uint32_t> default_errno;
    std::vector<std::string> architectures;         ///< "SCMP_ARCH_X86_64"; the native one is always there.
    std::optional<std::vector<std::string>> flags;  ///< "SECCOMP_FILTER_FLAG_LOG"; not set: SPEC_ALLOW, as runc does.
    std::string listener_path, listener_metadata;   ///< Where the notify descriptor is to be sent; for the runtime.
    std::vector<SeccompSyscall> syscalls;
};

struct SeccompProgram {
    std::vector<sock_filter> instructions;
    unsigned flags = 0;  ///< SECCOMP_FILTER_FLAG_*, with NEW_LISTENER where a rule notifies.
};

/// Syscalls that no architecture of this kernel's family has are skipped, as runc does. A syscall newer than all that the profile
/// names gets ENOSYS instead of the default error, so that a C library falls back to the older one.
/// Throws Error(invalid_argument) for an unknown architecture or flag, or arguments that cannot be compared so.
SeccompProgram compile_seccomp(const SeccompProfile& profile);

/// Loads it for the calling thread; no_new_privs or CAP_SYS_ADMIN is the caller's care. Returns the listener where the program
/// notifies. Allocates nothing and throws Error only on failure, so it can be the last step before execve.
Fd load_seccomp(const SeccompProgram& program);

/// Compiled programs by profile. The folder (0700, made here; empty: memory only) is shared between processes: a file is taken only
/// where it is ours, whole, and made from exactly this profile. A folder that fails is not an error, compiling goes on.
class SeccompCache {
public:
    explicit SeccompCache(std::string directory) : directory_(std::move(directory)) {}

    /// Valid as long as the cache.
    const SeccompProgram& get(const SeccompProfile& profile);

private:
    std::string directory_;
    std::map<std::string, SeccompProgram, std::less<>> programs_;
};

}  // namespace grua::linux
