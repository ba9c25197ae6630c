// Connections that the kernel cannot translate: to a port published on an address of one IP family, of a container that has only
// the other one, and to ::1, which nothing may leave the host from (`localhost` is ::1 first). One thread for all moves their bytes, by
// splice(2), without seeing them; datagrams are copied, and a client that is silent for 90 seconds is forgotten. The container sees
// the host's address.
// Not thread-safe: its owner has a lock. The host's network namespace is that of the thread that calls add() first.
#pragma once

#include "base/fd.hpp"
#include "linux/ip_address.hpp"

#include <cstdint>
#include <memory>

namespace grua::network {

class Proxy {
public:
    struct Target {
        linux::Ip address;
        std::uint16_t port = 0;
        friend bool operator==(const Target&, const Target&) = default;
    };

    Proxy();
    ~Proxy();  ///< Ends all connections.
    Proxy(const Proxy&) = delete;
    Proxy& operator=(const Proxy&) = delete;

    /// What `listener`, a nonblocking listening socket or a bound one of datagrams, gets goes to `target`, until remove(). Throws
    /// where no thread can be had.
    std::uint64_t add(Fd listener, const Target& target);
    /// Accepts no more; connections go on until they end. The answers to datagrams end with it.
    void remove(std::uint64_t id);

private:
    class Loop;
    std::unique_ptr<Loop> loop_;
};

}  // namespace grua::network
