// Mounts of which nobody knows how long they take: a server or a disk that does not answer holds whoever asks it, beyond the reach of
// every signal but SIGKILL. So a process of its own asks, which is ended when it takes too long; what it makes is a detached mount that
// comes back as a descriptor, and where it ends up is its owner's alone to say.
#pragma once

#include "base/fd.hpp"
#include "linux/mounts.hpp"

#include <sys/types.h>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace grua::linux {

/// The kernel takes no longer name or value of an option (fsconfig(2)).
inline constexpr std::size_t setting_limit = 255;

struct MountOrder {
    bool is_bind = false;  ///< Of `device`, which is a path; else a new instance of `type`.
    std::string below;     ///< Of a bind: what this path leads to inside `device`, as somebody sees it who has nothing else.
    Recursion recursion = Recursion::top_only;
    std::string type;
    std::string device;
    std::vector<std::pair<std::string, std::string>> settings;  ///< Of the file system; one without a value has an empty one.
    std::uint64_t attributes = 0;                               ///< MOUNT_ATTR_*
};

class MountProcess {
public:
    /// Begins to mount. It ends with this process.
    static MountProcess mount(const MountOrder& order);
    /// Begins to unmount what is at `path`, whoever uses it. It is gone for everybody at once; the process goes on, also without us, until
    /// all that was written has come to its place.
    static MountProcess unmount(const std::string& path);

    MountProcess(MountProcess&& other) noexcept;
    MountProcess& operator=(MountProcess&&) = delete;
    /// As end().
    ~MountProcess();

    /// Can be read from when there is an answer, or when there will be none.
    int socket() const noexcept { return socket_.get(); }

    /// The mount, or an empty one of an unmount. Blocks until there is an answer. Throws Error with the reason, errno included, where the
    /// kernel says one in words, these.
    Fd take();

    /// One that mounts ends now, unless the kernel holds it where no signal comes.
    void end() noexcept;

    /// Does not wait. A process that has ended leaves nothing behind once this has said so.
    bool has_ended() noexcept;

private:
    MountProcess(pid_t pid, Fd pidfd, Fd socket, bool may_be_killed) noexcept;

    pid_t pid_;
    Fd pidfd_;
    Fd socket_;
    bool may_be_killed_;
};

}  // namespace grua::linux
