// The parent's side of a child: how it is made in the namespaces that it shall be in, and which process it has become in the end.
#pragma once

#include "linux/process.hpp"
#include "runtime/plan.hpp"

namespace grua::runtime {

/// Namespaces that only take effect on children: entered around the clone and left again.
class ForChildren {
public:
    explicit ForChildren(const Plan& plan);
    ForChildren(const ForChildren&) = delete;
    ForChildren& operator=(const ForChildren&) = delete;
    ~ForChildren();

private:
    void enter(std::uint64_t flag, int fd);
    void remember(std::uint64_t flag);
    std::vector<JoinedNamespace> before_;
};

/// The child of clone3, then the process that it made in its place. Killed and reaped where the start does not come to its end.
class Born {
public:
    Born(const Plan& plan, linux::Cloned cloned) : plan_(plan), pid_(cloned.pid), pidfd_(std::move(cloned.pidfd)) {}
    Born(const Born&) = delete;
    Born& operator=(const Born&) = delete;
    ~Born();

    pid_t pid() const noexcept { return pid_; }
    /// Waits until the child has made the process in its place and has ended.
    void adopt();
    /// The child's end of the channel is closed, or it waits for start(): adopts, and throws what went wrong.
    enum class Came : std::uint8_t { to_its_end, to_wait };
    void conclude(Came came = Came::to_its_end);
    Fd release() noexcept;  ///< The start has come to its end.

private:
    const Plan& plan_;
    pid_t pid_;
    Fd pidfd_;
    bool has_hopped_ = false;
};

}  // namespace grua::runtime
