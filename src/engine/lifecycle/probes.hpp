// What asks a container how it is without a program in it: a socket of its network namespace, a look into its mount namespace.
#pragma once

#include "base/async.hpp"
#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/transfers.hpp"
#include "engine/model/probe.hpp"

#include <chrono>
#include <map>
#include <memory>
#include <stop_token>
#include <string>

namespace grua::engine {

struct ProbeAnswer {
    bool is_well = false;
    bool timed_out = false;
    std::string said;  ///< Bytes from inside the container may be in it.
};

struct ProbeRequest {
    std::string container;
    Probe probe;
    Fd name_space;  ///< The network's for a connection, the mounts' for a file.
    std::chrono::nanoseconds timeout{};
    std::stop_token stop;  ///< Asked on the loop: its answer is nobody's any more.
};

class Probes {
public:
    virtual ~Probes() = default;
    virtual asio::awaitable<ProbeAnswer> ask(ProbeRequest request) = 0;
};

/// The real one. Connections are the loop's. A file is looked for in a thread of its own, since a file system of the container's may
/// hang for as long as it likes: there is one such thread for each container, and where it has not come back the next has failed.
class NamespaceProbes final : public Probes {
public:
    NamespaceProbes(asio::any_io_executor loop, asio::thread_pool& pool, Timers& timers, Transfers& transfers)
        : loop_(std::move(loop)), pool_(pool), timers_(timers), transfers_(transfers) {}
    asio::awaitable<ProbeAnswer> ask(ProbeRequest request) override;

private:
    asio::awaitable<ProbeAnswer> ask_by_connection(std::shared_ptr<const ProbeRequest> request);
    asio::awaitable<ProbeAnswer> look_for_file(std::shared_ptr<const ProbeRequest> request);

    asio::any_io_executor loop_;
    asio::thread_pool& pool_;
    Timers& timers_;
    Transfers& transfers_;
    std::map<std::string, std::weak_ptr<const void>> looks_;  ///< Those that are out, by container.
};

}  // namespace grua::engine
