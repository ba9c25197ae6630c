#include "linux/netns.hpp"

#include "base/error.hpp"
#include "base/log.hpp"

#include <fcntl.h>
#include <sched.h>
#include <exception>

namespace grua::linux {

NetnsVisit::NetnsVisit(int netns) : found_(current()), home_(found_.get()) {
    if (::setns(netns, CLONE_NEWNET) != 0) fail_errno("enter a network namespace");
}

NetnsVisit::NetnsVisit(int netns, int home) : home_(home) {
    if (::setns(netns, CLONE_NEWNET) != 0) fail_errno("enter a network namespace");
}

NetnsVisit::NetnsVisit(New) : found_(current()), home_(found_.get()) {
    if (::unshare(CLONE_NEWNET) != 0) fail_errno("make a network namespace");
}

NetnsVisit::~NetnsVisit() {
    if (::setns(home_, CLONE_NEWNET) == 0) return;
    log::error("return to the host's network namespace: errno {}", errno);
    std::terminate();
}

Fd NetnsVisit::current() {
    Fd netns{::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)};
    if (!netns) fail_errno("open this thread's network namespace");
    return netns;
}

}  // namespace grua::linux
