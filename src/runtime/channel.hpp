// What a container's parent and its child say to each other until execve: one SOCK_SEQPACKET pair, close-on-exec, so that
// the parent's end of file is the proof that the program runs. An Error crosses whole.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

#include <cstdint>
#include <optional>
#include <utility>

namespace grua::runtime {

enum class Word : std::uint32_t {
    maps_written,  ///< To the child: its user namespace has its ID maps.
    cgroup_ready,  ///< To the child: it is in its cgroup, with limits; rlimits are set.
    mounted,       ///< To the parent: namespaces exist, run the runtime's hooks.
    hooks_done,    ///< To the child.
    terminal,      ///< To the parent, with the master's descriptor.
    ready,         ///< To the parent: set up, waiting for start().
    failed,        ///< To the parent, with the Error.
};

class Channel {
public:
    static std::pair<Channel, Channel> make();

    void send(Word word, int fd = -1) const;
    void send(const Error& error) const noexcept;

    struct Message {
        Word word;
        Fd fd;
    };
    /// Nothing at the end of file. Throws the Error of a `failed`.
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
