// A visit to another network namespace.
#pragma once

#include "base/fd.hpp"

namespace grua::linux {

/// The calling thread is in another network namespace for as long as this lives, then where it was before. A thread that
/// cannot go home would do its next work in a container's namespace: it ends the process.
class NetnsVisit {
public:
    explicit NetnsVisit(int netns);   ///< A network namespace, or by its pidfd that of a process.
    NetnsVisit(int netns, int home);  ///< By who has `home`, the thread's own, open: it need not be looked for in /proc.
    struct New {};
    explicit NetnsVisit(New);  ///< One that is made for it.
    NetnsVisit(const NetnsVisit&) = delete;
    NetnsVisit& operator=(const NetnsVisit&) = delete;
    ~NetnsVisit();

    static Fd current();  ///< The network namespace that the calling thread is in.

private:
    Fd found_;
    int home_;
};

}  // namespace grua::linux
