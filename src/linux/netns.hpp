// A visit to another network namespace.
#pragma once

#include "base/fd.hpp"

namespace grua::linux {

/// The calling thread is in the network namespace `netns` for as long as this lives, then where it was before. A thread that
/// cannot go home would do its next work in a container's namespace: it ends the process.
class NetnsVisit {
public:
    explicit NetnsVisit(int netns);
    struct New {};
    explicit NetnsVisit(New);  ///< One that is made for it.
    NetnsVisit(const NetnsVisit&) = delete;
    NetnsVisit& operator=(const NetnsVisit&) = delete;
    ~NetnsVisit();

    static Fd current();  ///< The network namespace that the calling thread is in.

private:
    Fd home_;
};

}  // namespace grua::linux
