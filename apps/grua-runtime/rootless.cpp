#include "rootless.hpp"

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/files.hpp"
#include "base/text.hpp"
#include "linux/process.hpp"
#include "output_of.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <array>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <utility>

namespace grua::app {
namespace {

using Mappings = std::vector<oci::IdMapping>;

/// In this user namespace, which need not be the host's first.
bool is_root() { return ::geteuid() == 0; }

bool takes_user_namespace(oci::RuntimeSpec& spec) {
    if (!spec.linux_) return false;
    return std::erase_if(spec.linux_->namespaces, [](const auto& each) { return each.type == "user" && each.path.empty(); }) > 0;
}

bool is_only(const Mappings& mappings, std::uint32_t id) {
    return mappings.size() == 1 && mappings.front().size == 1 && mappings.front().host_id == id;
}

/// newuidmap(1), which looks in /etc/subuid for what the user may have.
void map_with_help(const char* program, pid_t pid, const Mappings& mappings) {
    std::vector<std::string> words{program, std::to_string(pid)};
    for (const auto& each : mappings) {
        for (const std::uint32_t number : {each.container_id, each.host_id, each.size}) words.push_back(std::to_string(number));
    }
    output_of(words);
}

std::string line_of(const oci::IdMapping& mapping) {
    return fmt::format("{} {} {}\n", mapping.container_id, mapping.host_id, mapping.size);
}

/// Stays outside, because a process that is inside may write no map but that of its own ID; ends when it has done so.
class Outside {
public:
    Outside(const Mappings* users, const Mappings* groups) {
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends_.data()) != 0) fail_errno("create a socket pair");
        pid_ = ::fork();
        if (pid_ < 0) fail_errno("fork");
        if (pid_ != 0) {
            ::close(std::exchange(ends_[1], -1));
            return;
        }
        ::close(ends_[0]);
        // Its parent is to be mapped, and the helpers ask for who it belongs to.
        std::array<char, 1> byte{};
        std::string failed;
        if (::read(ends_[1], byte.data(), 1) == 1) {
            try {
                if (users) map_with_help("newuidmap", ::getppid(), *users);
                if (groups) map_with_help("newgidmap", ::getppid(), *groups);
            } catch (const std::exception& error) {
                failed = error.what();
            }
            [[maybe_unused]] const auto told = ::send(ends_[1], failed.c_str(), failed.size() + 1, MSG_NOSIGNAL);
        }
        ::_exit(0);
    }
    Outside(const Outside&) = delete;
    Outside& operator=(const Outside&) = delete;
    ~Outside() {
        ::close(ends_[0]);
        linux::reap(pid_);
    }

    void map() const {
        std::array<char, 4096> answer{};
        if (::send(ends_[0], "m", 1, MSG_NOSIGNAL) < 0) fail_errno("ask for the ID maps");
        const ssize_t got = ::recv(ends_[0], answer.data(), answer.size() - 1, 0);
        if (got <= 0) fail(ErrorKind::system, "map the IDs of the user namespace: the helper has ended");
        if (answer[0] != '\0') fail(ErrorKind::system, "map the IDs of the user namespace: {}", answer.data());
    }

private:
    std::array<int, 2> ends_{-1, -1};
    pid_t pid_ = -1;
};

void become_its_root() {
    if (::syscall(SYS_setresgid, 0, 0, 0) != 0 || ::syscall(SYS_setresuid, 0, 0, 0) != 0) fail_errno("become root of the user namespace");
}

}  // namespace

void enter_user_namespace(oci::RuntimeSpec& spec) {
    if (is_root()) return;
    if (!takes_user_namespace(spec))
        fail(ErrorKind::invalid_argument, "an ordinary user's container needs a user namespace (grua-runtime spec --rootless)");
    const Mappings users = spec.linux_->uid_mappings;
    const Mappings groups = spec.linux_->gid_mappings;
    if (users.empty() || groups.empty()) fail(ErrorKind::invalid_argument, "user namespaces enabled, but no uid or gid mappings found");
    const bool own_user = is_only(users, ::geteuid());
    const bool own_group = is_only(groups, ::getegid());

    // The files of /proc/self are the user's only so; in the namespace there is nobody yet who could make use of it.
    if (::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0) fail_errno("dumpable");
    {
        std::optional<Outside> outside;
        if (!own_user || !own_group) outside.emplace(own_user ? nullptr : &users, own_group ? nullptr : &groups);
        if (::unshare(CLONE_NEWUSER) != 0) fail_errno("make a user namespace");
        if (::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0) fail_errno("dumpable");
        if (own_user) write_value("/proc/self/uid_map", line_of(users.front()));
        if (own_group) {
            write_value("/proc/self/setgroups", "deny");
            write_value("/proc/self/gid_map", line_of(groups.front()));
        }
        if (outside) outside->map();
    }
    become_its_root();
    if (::unshare(CLONE_NEWNS) != 0) fail_errno("make a mount namespace");
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) fail_errno("make the mounts our own");
    if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) fail_errno("dumpable");
    spec.linux_->uid_mappings.clear();
    spec.linux_->gid_mappings.clear();
}

bool is_first_user_namespace() { return split(trim(read_file("/proc/self/uid_map")), ' ').back() == "4294967295"; }

void join_user_namespace(oci::RuntimeSpec& spec, int pidfd) {
    if (is_root() || !takes_user_namespace(spec)) return;
    if (::setns(pidfd, CLONE_NEWUSER) != 0) fail_errno("join the container's user namespace");
    become_its_root();
    if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) fail_errno("dumpable");
}

std::string default_root() {
    const char* own = std::getenv("XDG_RUNTIME_DIR");
    return is_root() || !own || *own != '/' ? "/run/grua-runtime" : std::string(own) + "/grua-runtime";
}

}  // namespace grua::app
