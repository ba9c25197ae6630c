#include "systemd.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "base/unix_address.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace grua::gruad {
namespace {

constexpr int first_descriptor = 3;
constexpr std::uint64_t most_descriptors = 1024;

std::string taken(const char* name) {
    const char* value = std::getenv(name);
    std::string out = value ? value : "";
    ::unsetenv(name);
    return out;
}

}  // namespace

Systemd Systemd::from_environment() {
    Systemd out;
    out.notify_path_ = taken("NOTIFY_SOCKET");
    const std::string pid = taken("LISTEN_PID");
    const std::string count_text = taken("LISTEN_FDS");
    taken("LISTEN_FDNAMES");
    // Of a service that started this one: not ours.
    if (count_text.empty() || parse_int(pid) != std::int64_t{::getpid()}) return out;
    const auto count = parse_uint(count_text);
    if (!count || *count > most_descriptors) fail(ErrorKind::invalid_argument, "LISTEN_FDS={}: not a number of descriptors", count_text);
    for (int i = 0; i < static_cast<int>(*count); ++i) {
        const int fd = first_descriptor + i;
        if (::fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
            fail(ErrorKind::invalid_argument, "LISTEN_FDS={}: descriptor {} is not open", count_text, fd);
        out.sockets_.emplace_back(fd);
    }
    return out;
}

void Systemd::notify(std::string_view state) const {
    if (notify_path_.empty()) return;
    auto address = unix_address(notify_path_);
    if ((notify_path_.front() != '/' && notify_path_.front() != '@') || !address)
        return log::warn("NOTIFY_SOCKET={}: not a socket's address", notify_path_);
    if (address->sun_path[0] == '@') address->sun_path[0] = '\0';
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + notify_path_.size());
    const Fd socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (!socket || ::sendto(socket.get(), state.data(), state.size(), MSG_NOSIGNAL, plain(*address), size) < 0)
        log::warn("systemd was not told {}: {}", state, std::strerror(errno));
}

void Systemd::notify_reloading() const {
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    const std::int64_t microseconds = std::int64_t{time.tv_sec} * 1'000'000 + time.tv_nsec / 1000;
    notify(fmt::format("RELOADING=1\nMONOTONIC_USEC={}", microseconds));
}

}  // namespace grua::gruad
