#include "linux/mount_process.hpp"

#include "base/error.hpp"
#include "base/passed_descriptor.hpp"
#include "base/test_points.hpp"
#include "linux/process.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <optional>

namespace grua::linux {
namespace {

constexpr int answer_fd = 3;  // In the child, which has no other.

struct Answer {
    int error = 0;
    std::array<char, 480> text{};  ///< The kernel's words; empty where it has none.
};

struct Setting {
    const char* name;
    const char* value;  ///< Null: it has none.
};

/// All of it is made before the child is: between clone and exit it may only make system calls, since another thread's locks may be held.
struct Prepared {
    bool is_bind;
    const char* below;  ///< Null: all of it.
    open_how below_how;
    unsigned tree_flags;
    const char* type;
    const char* device;
    std::vector<Setting> settings;
    unsigned attributes;
};

/// "e ext4: Unknown parameter 'x'" becomes the sentence. The log gives one message for each read.
void read_reason(int context, Answer& answer) {
    std::array<char, 512> line{};
    const ssize_t size = ::read(context, line.data(), line.size());
    if (size <= 2) return;
    const std::size_t length = std::min(static_cast<std::size_t>(size) - 2, answer.text.size() - 1);
    std::memcpy(answer.text.data(), line.data() + 2, length);
    if (answer.text[length - 1] == '\n') answer.text[length - 1] = '\0';
}

int new_filesystem(const Prepared& order, Answer& answer) {
    const int context = ::fsopen(order.type, FSOPEN_CLOEXEC);
    if (context < 0) {
        answer.error = errno;
        return -1;
    }
    const auto refused = [&] {
        answer.error = errno;
        read_reason(context, answer);
        return -1;
    };
    if (*order.device && ::fsconfig(context, FSCONFIG_SET_STRING, "source", order.device, 0) != 0) return refused();
    for (const Setting& each : order.settings)
        if (::fsconfig(context, each.value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, each.name, each.value, 0) != 0) return refused();
    if (::fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) return refused();
    const int mount = ::fsmount(context, FSMOUNT_CLOEXEC, order.attributes);
    return mount < 0 ? refused() : mount;
}

/// Whoever can write there may swap what the path leads over: it is walked once, by the kernel, which stays inside, and what is found is
/// used by its descriptor (CVE-2017-1002101, CVE-2021-25741).
int open_below(const Prepared& order) {
    constexpr int most_tries = 128;  // EAGAIN: a rename raced with the walk.
    const int folder = ::open(order.device, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return -1;
    for (int tries = 0;; ++tries) {
        const long found = ::syscall(SYS_openat2, folder, order.below, &order.below_how, sizeof order.below_how);
        if (found >= 0 || errno != EAGAIN || tries == most_tries) return static_cast<int>(found);
    }
}

int copy_of_tree(const Prepared& order, Answer& answer) {
    const int from = order.below ? open_below(order) : AT_FDCWD;
    const int mount = from == -1 ? -1 : ::open_tree(from, order.below ? "" : order.device, order.tree_flags);
    if (mount < 0) {
        answer.error = errno;
        return -1;
    }
    mount_attr attributes{};
    attributes.attr_set = order.attributes;
    if ((order.attributes & MOUNT_ATTR__ATIME) != 0) attributes.attr_clr = MOUNT_ATTR__ATIME;
    if (order.attributes != 0 && ::mount_setattr(mount, "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0) {
        answer.error = errno;
        return -1;
    }
    return mount;
}

void send_answer(const Answer& answer, int mount) {
    iovec part{.iov_base = const_cast<Answer*>(&answer), .iov_len = sizeof answer};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    std::optional<PassedDescriptor> passed;
    if (mount >= 0) passed.emplace(message, mount);
    (void)::sendmsg(answer_fd, &message, MSG_NOSIGNAL);
}

/// Nothing of the parent's is held open while this one waits: its clients would wait with it.
void keep_only(int socket) {
    if (socket != answer_fd && ::dup3(socket, answer_fd, O_CLOEXEC) < 0) ::_exit(1);
    (void)::syscall(SYS_close_range, answer_fd + 1, ~0U, 0);
    (void)::chdir("/");
}

struct Ends {
    Fd ours;
    Fd theirs;
};

Ends socket_pair() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) fail_errno("make a socket");
    return {Fd{ends[0]}, Fd{ends[1]}};
}

}  // namespace

MountProcess::MountProcess(pid_t pid, Fd pidfd, Fd socket, bool may_be_killed) noexcept
    : pid_(pid), pidfd_(std::move(pidfd)), socket_(std::move(socket)), may_be_killed_(may_be_killed) {}

MountProcess::MountProcess(MountProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)),
      pidfd_(std::move(other.pidfd_)),
      socket_(std::move(other.socket_)),
      may_be_killed_(other.may_be_killed_) {}

MountProcess MountProcess::mount(const MountOrder& order) {
    unsigned tree_flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
    if (order.recursion == Recursion::recursive) tree_flags |= AT_RECURSIVE;
    if (!order.below.empty()) tree_flags |= AT_EMPTY_PATH;
    Prepared prepared{.is_bind = order.is_bind,
                      .below = order.below.empty() ? nullptr : order.below.c_str(),
                      .below_how = {.flags = O_PATH | O_CLOEXEC,
                                    .mode = 0,
                                    .resolve = is_left_out("CVE-2017-1002101") ? 0U : RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS},
                      .tree_flags = tree_flags,
                      .type = order.type.c_str(),
                      .device = order.device.c_str(),
                      .settings = {},
                      .attributes = static_cast<unsigned>(order.attributes)};
    for (const auto& [name, value] : order.settings) {
        if (name.size() > setting_limit || value.size() > setting_limit)
            fail(ErrorKind::invalid_argument, "option {:?}: it is longer than the {} bytes that the kernel takes", name, setting_limit);
        prepared.settings.push_back({.name = name.c_str(), .value = value.empty() ? nullptr : value.c_str()});
    }
    if (!order.is_bind && order.device.size() > setting_limit)
        fail(ErrorKind::invalid_argument, "the device is longer than the {} bytes that the kernel takes", setting_limit);
    Ends ends = socket_pair();
    const pid_t parent = ::getpid();
    Cloned child = clone_process(0);
    if (child.pid == 0) {
        // What it would make after us nobody would ever take away.
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != parent) ::_exit(1);
        keep_only(ends.theirs.get());
        Answer answer;
        const int made = prepared.is_bind ? copy_of_tree(prepared, answer) : new_filesystem(prepared, answer);
        send_answer(answer, made);
        ::_exit(0);
    }
    return {child.pid, std::move(child.pidfd), std::move(ends.ours), true};
}

MountProcess MountProcess::unmount(const std::string& path) {
    Ends ends = socket_pair();
    const char* name = path.c_str();
    Cloned child = clone_process(0);
    if (child.pid == 0) {
        keep_only(ends.theirs.get());
        Answer answer;
        if (::umount2(name, MNT_DETACH | UMOUNT_NOFOLLOW) != 0) answer.error = errno;
        send_answer(answer, -1);
        ::_exit(0);
    }
    return {child.pid, std::move(child.pidfd), std::move(ends.ours), false};
}

MountProcess::~MountProcess() {
    end();
    (void)has_ended();
}

void MountProcess::end() noexcept {
    if (pid_ != 0 && may_be_killed_) (void)::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
}

bool MountProcess::has_ended() noexcept {
    if (pid_ == 0) return true;
    if (::waitpid(pid_, nullptr, WNOHANG) == 0) return false;
    pid_ = 0;
    return true;
}

Fd MountProcess::take() {
    Answer answer;
    iovec part{.iov_base = &answer, .iov_len = sizeof answer};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    ssize_t size = 0;
    while ((size = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
    }
    if (size < 0) fail_errno("read what the mounting process says");
    // It has said all; what is left is its exit.
    if (pid_ != 0) (void)reap(std::exchange(pid_, 0));
    if (size == 0) fail(ErrorKind::system, "the mounting process was killed");
    Fd mount;
    if (const cmsghdr* header = CMSG_FIRSTHDR(&message); header && header->cmsg_type == SCM_RIGHTS) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
        mount = Fd{fd};
    }
    if (answer.error == 0) return mount;
    const std::string reason = std::generic_category().message(answer.error);
    answer.text.back() = '\0';
    const std::string words = answer.text.data();
    throw Error(ErrorKind::system, words.empty() ? reason : fmt::format("{}: {}", words, reason), answer.error);
}

}  // namespace grua::linux
