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
    Fd process;  ///< The container's, a pidfd.
    std::chrono::nanoseconds timeout{};
    std::stop_token stop;  ///< Asked on the loop: its answer is nobody's any more.
};

class Probes {
public:
    virtual ~Probes() = default;
    virtual asio::awaitable<ProbeAnswer> ask(ProbeRequest request) = 0;
};

class LookDesk;

/// The real one. Connections are the loop's. Files are looked for in threads of their own, since a file system of a container's may
/// hang for as long as it likes: one thread serves all while each look comes back, another is started for those behind one that does
/// not. There is one look for each container, and where it has not come back the next has failed.
class NamespaceProbes final : public Probes {
public:
    NamespaceProbes(asio::any_io_executor loop, Timers& timers, Transfers& transfers);
    asio::awaitable<ProbeAnswer> ask(ProbeRequest request) override;

private:
    asio::awaitable<ProbeAnswer> ask_by_connection(ProbeRequest request);
    asio::awaitable<ProbeAnswer> look_for_file(ProbeRequest request);
    void start_looking();

    asio::any_io_executor loop_;
    Timers& timers_;
    Transfers& transfers_;
    Fd home_;  ///< The host's network namespace.
    std::shared_ptr<LookDesk> desk_;
    std::chrono::steady_clock::time_point last_started_;      ///< A thread that looks.
    std::map<std::string, std::weak_ptr<const void>> looks_;  ///< Those that are out, by container.
};

}  // namespace grua::engine
