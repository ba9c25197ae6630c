// Further programs in running containers.
#pragma once

#include "base/async.hpp"
#include "engine/model/exec.hpp"
#include "engine/principal.hpp"
#include "engine/stream.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace grua::engine {

struct ExecStart {
    bool detach = false;
    bool tty = false;  ///< How what it says is framed: not at all. Whether it has a terminal is its config's.
    std::optional<std::pair<std::uint32_t, std::uint32_t>> console_size;  ///< {height, width}
    std::string detach_keys;
};

class Execs : public Service {
public:
    using Service::Service;

    /// Throws Error(not_found, "No such exec instance: x").
    ExecPtr find(std::string_view id) const;

    /// Returns its ID.
    asio::awaitable<std::string> create(std::string reference, ExecConfig config) const;

    /// Detached: returns when the program runs, throws where it cannot.
    asio::awaitable<void> start(std::string id, ExecStart start) const;

    /// With a client. What is refused at once (unknown, already run, container stopped or paused) is thrown here; a failure to execute is
    /// written to the client's socket, as Docker does, and the exit code is then 126 or 127.
    Stream start_attached(std::string id, ExecStart start) const;

    asio::awaitable<void> resize(std::string id, std::uint32_t height, std::uint32_t width) const;
};

}  // namespace grua::engine
