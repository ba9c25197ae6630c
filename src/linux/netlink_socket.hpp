// A netlink socket, and the exchange on it: requests go to the kernel, and only its answers come back.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace grua::linux {

struct Message;

using OnMessage = std::function<void(const Message&)>;

/// In one network namespace: that of the thread that made it, wherever it is used later. All throw Error with the failed call's errno.
class NetlinkSocket {
public:
    explicit NetlinkSocket(int protocol);  ///< NETLINK_ROUTE, NETLINK_NETFILTER

    int fd() const noexcept { return fd_.get(); }
    void set_option(int option, int value);  ///< Of SOL_NETLINK.

    std::uint32_t number(std::span<std::byte> request);  ///< Gives it the next sequence number.
    void send(std::span<const std::byte> requests, std::string_view doing);

    /// The messages of the next datagram, when it has come.
    void read(std::string_view doing, const OnMessage& on_message);
    /// All messages that have come. True where the kernel had no room to keep some of them.
    bool read_waiting(std::string_view doing, const OnMessage& on_message);
    /// Sends a request and reads its answers up to the last. The Error of what the kernel refused has its errno; EINTR: what was
    /// listed changed meanwhile.
    void ask(std::vector<std::byte> request, std::string_view doing, const OnMessage& on_message);

private:
    std::span<const std::byte> receive(int flags);

    Fd fd_;
    std::unique_ptr<std::byte[]> buffer_;
    std::uint32_t sequence_ = 0;
};

/// A list that was overtaken by a change is taken again, a few times.
template <typename Once>
auto retried(Once&& once) {
    constexpr int attempts = 8;
    for (int attempt = 1;; ++attempt) {
        try {
            return once();
        } catch (const Error& error) {
            if (error.os_error() != EINTR || attempt == attempts) throw;
        }
    }
}

/// What the kernel answered with `os_error`, and what it says beyond that.
Error refusal(std::string_view doing, int os_error, const Message& answer);

}  // namespace grua::linux
