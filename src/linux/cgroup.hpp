// Control groups: v1, v2 and the hybrid of both behind one value type.
//
// A cgroup is a directory descriptor in each hierarchy that matters, opened once; every read and write afterwards goes
// through it, because a path can be removed and made again by somebody else. What a caller says is always in the words
// of the OCI runtime specification (config-linux.md#control-groups); what the kernel's generation needs is decided here.
// Nothing here starts a thread or needs more than the files of cgroupfs, so it works in a static, single-threaded process.
#pragma once

#include "base/fd.hpp"
#include "linux/cgroup_resources.hpp"
#include "linux/cgroup_stats.hpp"

#include <sys/types.h>
#include <csignal>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace grua::linux {

/// v1: one hierarchy per controller. v2: one for all. Hybrid: v1, with a v2 mount beside it that has no useful controller.
enum class CgroupLayout : std::uint8_t { v1, hybrid, v2 };

namespace controller {
inline constexpr unsigned cpu = 1U << 0U, cpuacct = 1U << 1U, cpuset = 1U << 2U, memory = 1U << 3U, devices = 1U << 4U, freezer = 1U << 5U,
                          io = 1U << 6U, pids = 1U << 7U, hugetlb = 1U << 8U, net_cls = 1U << 9U, net_prio = 1U << 10U,
                          perf_event = 1U << 11U, rdma = 1U << 12U, misc = 1U << 13U, systemd = 1U << 14U, unified = 1U << 15U;
}  // namespace controller

/// The bit of a controller as the kernel names it ("blkio" and "io" are one); 0 for one that grua has no use for.
unsigned controller_bit(std::string_view name) noexcept;

/// A mounted hierarchy as /proc/self/mountinfo tells it.
struct CgroupMount {
    std::string mount_point;
    std::string root;          ///< What of the hierarchy is mounted: "/" but inside a container without a cgroup namespace.
    unsigned controllers = 0;  ///< For v2: controller::unified; which controllers it has is in its own files.
};

/// Each hierarchy once, the first mount of it. Lines that are not understood are skipped: the kernel adds fields.
std::vector<CgroupMount> parse_cgroup_mounts(std::string_view mountinfo);

/// An absolute path in a hierarchy, "/grua/<id>": no empty, "." or ".." component. Made by parse only.
class CgroupPath {
public:
    /// Throws Error(invalid_argument).
    static CgroupPath parse(std::string_view text);

    const std::string& text() const noexcept { return text_; }
    /// For the *at calls on a hierarchy's root.
    const char* relative() const noexcept { return text_.c_str() + 1; }

private:
    friend class Cgroup;
    explicit CgroupPath(std::string text) : text_(std::move(text)) {}
    std::string text_;
};

/// The machine's hierarchies, held by descriptors of their roots. Detected once per process; copies share.
class CgroupMounts {
public:
    /// Throws Error(unavailable) where no cgroup is mounted.
    static CgroupMounts detect();

    /// Those of detect(); in a hybrid its v2 hierarchy, which limits nothing, is joined too, as runc does.
    static CgroupMounts detect_with_unified();

    CgroupLayout layout() const noexcept;
    /// Every controller that can limit or count here.
    unsigned controllers() const noexcept;

private:
    friend class Cgroup;
    struct Detected;
    static std::shared_ptr<Detected> look();
    explicit CgroupMounts(std::shared_ptr<const Detected> detected) : detected_(std::move(detected)) {}
    std::shared_ptr<const Detected> detected_;
};

class Cgroup {
public:
    /// Makes the cgroup (and its missing parents) wherever a container of grua needs one. v2: all controllers are enabled
    /// on the way down. v1: cpuset, hugetlb, net_cls and net_prio are joined only when apply() is given something for them.
    /// A cgroup that exists already is taken as it is: whoever must not share asks is_new().
    static Cgroup create(const CgroupMounts& mounts, const CgroupPath& path);

    /// In no hierarchy, for an ordinary user who may make none: it has no processes, can be killed and removed, and takes no limits.
    static Cgroup none();

    /// Throws Error(not_found) where the cgroup exists in no hierarchy.
    static Cgroup open(const CgroupMounts& mounts, const CgroupPath& path);

    const CgroupPath& path() const noexcept { return path_; }
    CgroupLayout layout() const noexcept { return mounts_.layout(); }

    /// False where create() found it.
    bool is_new() const noexcept { return is_new_; }

    /// From now on what is below it at `path`, in the hierarchies of `controllers` (0: in all). Throws Error(not_found) where there is
    /// no such cgroup, Error(invalid_argument) for a path that is not below.
    void descend(unsigned controllers, std::string_view path);

    /// Writes the limits that are set. Also for a running container: the order of the writes suits raising and lowering.
    void apply(const Resources& resources);

    /// Moves a process in; 0 is the caller. `beside`: a process of this cgroup whose own (child) cgroup is taken where a v2
    /// cgroup may hold no process itself since the container delegates (systemd in a container).
    void attach(pid_t pid, pid_t beside = 0) const;

    /// v1 and hybrid: moves the calling process, which must have one thread. Unlike attach() it waits for no RCU grace period
    /// (10 to 20 ms a hierarchy set): the kernel need not stop all forks of the machine for a process that moves itself.
    enum class BornIn : std::uint8_t { elsewhere, unified };
    void attach_self(BornIn born = BornIn::elsewhere) const;

    /// v2: the directory for clone3(CLONE_INTO_CGROUP), which replaces attach(). -1 elsewhere.
    int directory_fd() const noexcept;

    /// Hybrid: the same for its v2 hierarchy, where that is joined. -1 elsewhere.
    int unified_fd() const noexcept;

    struct Folder {
        std::string hierarchy;  ///< The name that its root has: "cpu,cpuacct".
        int fd;                 ///< Borrowed.
    };
    /// In each hierarchy that it is in.
    std::vector<Folder> folders() const;

    /// Stops all processes and returns once all are stopped; throws Error(unavailable) after 10 s and undoes it.
    void freeze() const;
    void thaw() const;
    bool frozen() const;

    /// Processes of this cgroup and those below it, each once.
    std::vector<pid_t> pids() const;
    bool empty() const { return pids().empty(); }

    /// SIGKILL is sent to all at once so that none escapes by forking; other signals to each once.
    void kill(int signal = SIGKILL) const;

    CgroupStats stats() const;
    MemoryEvents memory_events() const;
    std::uint64_t oom_kills() const { return memory_events().oom_kill; }
    /// Readable when memory_events() may have changed; what was read from it means nothing. Nothing where memory is not counted.
    Fd watch_memory_events() const;

    /// Removes it and what the container made below it, in all hierarchies; an exiting process is waited for, 1 s at most in all.
    /// Gone already is fine. Throws Error(system, EBUSY) where processes remain.
    void remove();

private:
    struct Directory {
        std::size_t hierarchy;  // Index in CgroupMounts.
        unsigned controllers;
        Fd fd;
    };

    Cgroup(CgroupMounts mounts, CgroupPath path) : mounts_(std::move(mounts)), path_(std::move(path)) {}
    int directory(unsigned wanted) const noexcept;  // -1 where no hierarchy with it is joined.
    int require(unsigned wanted, std::string_view what);
    int process_directory() const noexcept;
    void join_hierarchy(std::size_t hierarchy);
    void join_late(unsigned wanted);
    void enable_controllers() const;

    CgroupMounts mounts_;
    CgroupPath path_;
    std::vector<Directory> directories_;
    bool is_new_ = true;
};

}  // namespace grua::linux
