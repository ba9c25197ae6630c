// The mount API of Linux 5.2 and later, by descriptor: a file system or a copy of a tree is made detached, given its
// attributes, and attached last. No path is looked up twice, so nobody can swap what was checked.
// The oldest kernel is 5.12 (mount_setattr); openat2, without which grua has no rooted paths, is 5.6.
#pragma once

#include "base/fd.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace grua::linux {

enum class Recursion : std::uint8_t { top_only, recursive };

/// A new instance of a file system, not attached anywhere. `options` are the file system's own, "size=64k" or "newinstance";
/// `attributes` are MOUNT_ATTR_*. Throws Error with the reason that the file system gave.
Fd make_filesystem(const char* type, const char* source, const std::vector<std::string>& options, std::uint64_t attributes);

/// The same in two parts: `context` knows the namespaces of the process that opened it, and may be configured by another one.
Fd open_filesystem(const char* type);
Fd make_filesystem(int context, const char* type, const char* source, const std::vector<std::string>& options, std::uint64_t attributes);

/// One that is not mounted: the descriptor keeps the instance, so that the kernel finds it when somebody mounts it. To close it costs
/// nothing, where for a mount that is attached nowhere the kernel waits until all processors have let go of it.
Fd hold_filesystem(const char* type);

/// A detached copy of what is mounted at `path` under `directory` (an empty path: `directory` itself, which must be of the
/// caller's mount namespace). Recursive takes the mounts below it along.
Fd copy_mount(int directory, const char* path, Recursion recursion);

/// Attaches a detached mount (or moves an attached one) onto what `target` refers to. Nothing is looked up by name.
void attach_mount(int mount, int target, std::string_view name);

struct MountChange {
    std::uint64_t set = 0;          ///< MOUNT_ATTR_*
    std::uint64_t clear = 0;        ///< MOUNT_ATTR_*
    unsigned long propagation = 0;  ///< One of MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_UNBINDABLE; 0 leaves it.
    int id_map = -1;                ///< A user namespace whose ID maps the mount shall have; -1 none.
};
void change_mount(int mount, const MountChange& change, Recursion recursion, std::string_view name);

/// Makes an attached mount the root of the calling process's mount namespace, and lets go of what was it.
void replace_root(int mount);

/// A mount namespace with nothing in it but an empty folder that cannot be written to. Whoever makes another from it copies one
/// mount instead of the host's tree, and has no tree of the host to leave. For single-threaded callers.
Fd make_empty_mount_namespace();

/// The f_type of the file system that `fd` is in.
std::uint64_t filesystem_type(int fd);

inline constexpr std::uint64_t proc_magic = 0x9fa0;
inline constexpr std::uint64_t sysfs_magic = 0x62656572;
inline constexpr std::uint64_t devpts_magic = 0x1cd1;
inline constexpr std::uint64_t tmpfs_magic = 0x01021994;

}  // namespace grua::linux
