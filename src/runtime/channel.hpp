// What a container's parent and its child say to each other until execve: one SOCK_SEQPACKET pair, close-on-exec, so that
// the parent's end of file is the proof that the child is done with it. How it ended is in the Outcome.
#pragma once

#include "base/fd.hpp"

#include <cstdint>
#include <optional>
#include <utility>

namespace grua::runtime {

enum class Word : std::uint32_t {
    maps_written,  ///< To the child: its user namespace has its ID maps.
    cgroup_ready,  ///< To the child: it is in its cgroup, with limits; rlimits are set.
    mounted,       ///< To the parent: namespaces and mounts exist, run the runtime's hooks.
    hooks_done,    ///< To the child.
    terminal,      ///< To the parent, with the master's descriptor.
    ready,         ///< To the parent: set up, waiting for start().
};

class Channel {
public:
    static std::pair<Channel, Channel> make();
    static Channel at(Fd socket) noexcept { return Channel{std::move(socket)}; }

    void send(Word word, int fd = -1) const;

    struct Message {
        Word word;
        Fd fd;
    };
    /// Nothing at the end of file. Throws where a descriptor was sent and there is no room for it.
    std::optional<Message> receive() const;
    /// Throws where another word comes, or the end.
    void expect(Word word) const;

    int fd() const noexcept { return socket_.get(); }
    void close() { socket_ = Fd{}; }

private:
    explicit Channel(Fd socket) noexcept : socket_(std::move(socket)) {}
    Fd socket_;
};

}  // namespace grua::runtime
