// The launcher process as the engine uses it: started once, started again where it died. From the pool.
#pragma once

#include "base/fd.hpp"
#include "monitor/log_spec.hpp"

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace grua::tasks {

struct LaunchOrder {
    std::string id;
    std::string directory;  ///< Live state: monitor.sock, exit.json.
    monitor::LogSpec log;
    bool open_stdin = false;
    bool stdin_once = false;
    std::string seccomp_cache;
    Fd control;  ///< The monitor's end.
    Fd spec;     ///< memfd with the OCI configuration.
    Fd rootfs;
    Fd network_namespace;                          ///< May be none.
    std::vector<std::pair<std::string, Fd>> more;  ///< By the names that monitor::Launch has.
};

class Launcher {
public:
    explicit Launcher(std::string runtime_path);
    ~Launcher();

    /// Blocks for as long as a send takes.
    void launch(LaunchOrder order);

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace grua::tasks
