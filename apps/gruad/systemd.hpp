// What systemd hands to a service, and what it wants to be told (sd_listen_fds(3), sd_notify(3)): a few descriptors and a datagram.
#pragma once

#include "base/fd.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace grua::gruad {

class Systemd {
public:
    /// Takes it out of the environment, so that no child believes it to be its own; the descriptors close at execve from here on.
    /// Before there are other threads and descriptors. Throws Error(invalid_argument) for what systemd would not say.
    static Systemd from_environment();

    /// The sockets that it listens on, from descriptor 3 on; empty where this is no socket-activated service.
    std::vector<Fd> take_sockets() noexcept { return std::move(sockets_); }

    /// "READY=1". Nothing where nobody wants to know; it is not waited for.
    void notify(std::string_view state) const;
    /// SIGHUP is being worked on; READY=1 ends it.
    void notify_reloading() const;

private:
    std::vector<Fd> sockets_;
    std::string notify_path_;  ///< Begins with '@' where it is abstract.
};

}  // namespace grua::gruad
