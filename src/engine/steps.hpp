// Programs that are run in a tree of files for somebody who is no container: the steps of a build.
//
// A step has what a container has with Docker's defaults – its seccomp filter, capabilities, masked paths, devices, a cgroup below the
// engine's – and nothing of a container's that others see: no name, no row in the store, no event, no place in a list. It ends with whoever
// waits for it, with gruad, and at the latest when the next gruad finds it.
//
// It is asked for by the builder and not by a client: no policy has a say.
#pragma once

#include "base/async.hpp"
#include "base/error.hpp"
#include "base/fd.hpp"
#include "engine/model/documents.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace grua::engine {

struct StepMount {
    std::string destination;      ///< Absolute. A later one at the same place counts; a folder is mounted before what is in it.
    Fd mount;                     ///< A detached mount; none: a tmpfs of its own, where programs may be executed.
    bool read_only = false;       ///< Else it is as the mount is.
    std::int64_t tmpfs_size = 0;  ///< In bytes, of a tmpfs; 0: the kernel's own bound.
};

enum class StepNetwork : std::uint8_t {
    bridge,  ///< The default one; where gruad has none, as none.
    host,
    none,  ///< A loopback.
};

struct StepRequest {
    /// A detached mount. What has to be made in it for the mounts alone is not in it any more afterwards, where nothing was put there;
    /// a working directory that is missing is made, and stays.
    Fd root;
    bool read_only_root = false;
    std::vector<StepMount> mounts;
    StringList args;
    StringList env;          ///< A PATH and a HOME come with it where it has none.
    std::string cwd;         ///< Empty: "/".
    std::string user;        ///< "name", "uid", each with ":group" or not, as the root's files know them; empty: 0.
    std::string hostname;    ///< Empty: one of its own, or with the host's network the host's.
    StringList extra_hosts;  ///< "name:address", as --add-host has them.
    StepNetwork network = StepNetwork::bridge;
    bool insecure = false;      ///< As a privileged container.
    Resources limits;           ///< As a container's; its ulimits and cgroup parent are here too.
    std::int64_t shm_size = 0;  ///< Of /dev/shm, in bytes; 0: the daemon's default.
    /// A connected stream socket, nothing where there is none: what comes of it is the program's standard input, and what it writes to its
    /// standard output goes there and not to `output`. The input ends where the peer ends; the peer's ends with the program.
    Fd streams;
    /// 1 is standard output, 2 standard error. On the loop, as the bytes come, and all of them before run() returns; nothing afterwards. It
    /// throws nothing. Nothing more is read before it returns.
    std::function<void(int stream, std::string_view bytes)> output;
};

/// What the cgroup has counted; 0 where it does not.
struct StepEnd {
    int exit_code = 0;  ///< 128 + signal where one ended it.
    bool was_out_of_memory = false;
    std::chrono::nanoseconds cpu_time{};
    std::uint64_t peak_memory = 0;  ///< Bytes.
    std::uint64_t read_bytes = 0;   ///< Of block devices.
    std::uint64_t written_bytes = 0;
};

/// The program was not executed; runc's words say why.
struct StepNotStarted : Error {
    StepNotStarted(const Error& error, int code) : Error(error), exit_code(code) {}
    int exit_code;  ///< As of a container: 127 no such program, 126 one that cannot be executed, 125 all else.
};

class Inside;

/// Cheap to copy.
class Steps {
public:
    explicit Steps(std::shared_ptr<Inside> inside) : inside_(std::move(inside)) {}

    /// Returns when the program has ended, and its processes, network, cgroup and live folder are gone. Where the caller is cancelled, all
    /// processes are killed, and this comes back when all is gone likewise; it throws system_error(operation_aborted) then.
    ///
    /// Throws StepNotStarted; Error(invalid_argument) for what cannot be, Error(unavailable) where gruad ends, Error(system) where it
    /// is not known how the program ended.
    asio::awaitable<StepEnd> run(StepRequest request) const;

private:
    std::shared_ptr<Inside> inside_;
};

}  // namespace grua::engine
