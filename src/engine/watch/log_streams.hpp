// Logs on their way to who reads them. Files are read by two threads of its own, a bounded piece at a time: a search through gigabytes
// for what is not there keeps no start and no removal, and ends soon after whoever asked for it has left.
#pragma once

#include "engine/engine.hpp"
#include "engine/lifecycle/container.hpp"
#include "engine/watch/log_watch.hpp"

#include <boost/asio/thread_pool.hpp>
#include <memory>

namespace grua::engine {

class LogStreams {
public:
    explicit LogStreams(asio::any_io_executor loop) : watch_(std::move(loop)) {}

    /// The log of a container that has one. Loop only; not to outlive this.
    std::shared_ptr<LogStream> open(ContainerPtr container, const LogOptions& options);

private:
    static constexpr std::size_t threads = 2;
    LogWatch watch_;
    asio::thread_pool readers_{threads};
};

}  // namespace grua::engine
