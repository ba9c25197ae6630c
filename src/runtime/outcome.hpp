// How a start ended, in memory that the child shares with its parent. A child says its last word by writing here: whose system calls are
// filtered by now, who has no descriptor left or whose socket is broken can do that too, and what is written is not lost when it ends.
//
// Whoever may trace the child (CAP_SYS_PTRACE in the container, for the moment before execve) may write here too, so the parent takes
// nothing of it for granted: lengths are bounded, text is made valid, and a pid counts only if it is the parent's own child.
#pragma once

#include "base/error.hpp"

#include <sys/types.h>
#include <optional>
#include <string_view>

namespace grua::runtime {

class Outcome {
public:
    Outcome();
    Outcome(const Outcome&) = delete;
    Outcome& operator=(const Outcome&) = delete;
    ~Outcome();

    /// The next is execve: from now on an end without a failure is the program's own.
    void about_to_execute(std::string_view program) const noexcept;
    /// Allocates nothing and calls nothing: there may be a filter that allows no system call.
    void execve_failed(int error) const noexcept;
    /// `doing` goes before the error's text where it is not empty.
    void failed(const Error& error, std::string_view doing) const noexcept;
    /// Where the kernel writes the pid of a process that the child makes in its place (CLONE_PARENT_SETTID).
    pid_t* program() const noexcept;

    bool is_executing() const noexcept;
    std::optional<Error> failure() const;

private:
    struct Page;
    Page* page_;
};

}  // namespace grua::runtime
