// A descriptor that goes with a message over a Unix socket.
#pragma once

#include <sys/socket.h>
#include <array>
#include <cstring>

namespace grua {

/// Puts it into a message, which must not outlive this.
class PassedDescriptor {
public:
    PassedDescriptor(msghdr& message, int fd) noexcept {
        message.msg_control = control_.data();
        message.msg_controllen = control_.size();
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    PassedDescriptor(const PassedDescriptor&) = delete;
    PassedDescriptor& operator=(const PassedDescriptor&) = delete;

private:
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control_{};
};

}  // namespace grua
