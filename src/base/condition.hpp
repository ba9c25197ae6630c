// Waiting on the loop for something to change. Look, wait, look again: a wake-up says only that something did.
#pragma once

#include "base/async.hpp"

#include <boost/asio/steady_timer.hpp>
#include <list>

namespace grua {

class Condition {
public:
    using Clock = asio::steady_timer::clock_type;

    explicit Condition(asio::any_io_executor loop) : loop_(std::move(loop)) {}

    /// Until notify_all() or `deadline`.
    asio::awaitable<void> wait(Clock::time_point deadline = Clock::time_point::max());

    void notify_all();

private:
    class Entry;

    asio::any_io_executor loop_;
    std::list<asio::steady_timer*> waiting_;
};

}  // namespace grua
