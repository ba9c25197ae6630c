// A further program in a running container.
#pragma once

#include "engine/model/documents.hpp"

#include <sys/types.h>
#include <memory>
#include <optional>

namespace grua::engine {

/// A value that never changes, like ContainerRecord. Execs are gone with their container's run; none is stored.
struct ExecRecord {
    std::string id;
    std::string container_id;
    ExecConfig config;
    bool started = false;
    bool running = false;
    pid_t pid = 0;
    std::optional<int> exit_code;  ///< Nothing while it runs, or where it has not been started.

    /// Terminal in use: config.tty.
    std::string entrypoint() const { return config.cmd.empty() ? std::string() : config.cmd.front(); }
    StringList arguments() const { return config.cmd.empty() ? StringList() : StringList(config.cmd.begin() + 1, config.cmd.end()); }
};

using ExecPtr = std::shared_ptr<const ExecRecord>;

}  // namespace grua::engine
