// For listeners, where descriptors are used up: accept() fails then, the client stays in the queue, and the listener is readable
// again at once.
#pragma once

#include "base/fd.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <cerrno>

namespace grua {

/// Whether accept() failed for want of descriptors or memory: it will again, until somebody gives some back.
inline bool is_shortage(int error) noexcept { return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS; }

/// One descriptor that is kept for that moment.
class SpareDescriptor {
public:
    SpareDescriptor() { keep(); }

    /// Takes a client out of the queue in its place. The caller sends that one away, closes it, and calls keep().
    Fd accept(int listener) {
        spare_ = Fd{};
        return Fd{::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
    }

    /// False where there is none to keep: another was quicker.
    bool keep() {
        if (!spare_) spare_ = Fd{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
        return static_cast<bool>(spare_);
    }

private:
    Fd spare_;
};

}  // namespace grua
