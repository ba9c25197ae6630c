// Waiting on the loop for something to change. Look, wait, look again: a wake-up says only that something did.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <list>

namespace grua {

class Condition {
public:
    using Clock = asio::steady_timer::clock_type;

    explicit Condition(asio::any_io_executor loop) : loop_(std::move(loop)) {}

    /// Until notify_all() or `deadline`.
    asio::awaitable<void> wait(Clock::time_point deadline = Clock::time_point::max()) {
        asio::steady_timer timer(loop_, deadline);
        const Entry entry(waiting_, timer);
        (void)co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
    }

    void notify_all() {
        for (asio::steady_timer* each : waiting_) each->cancel();
    }

private:
    class Entry {
    public:
        Entry(std::list<asio::steady_timer*>& list, asio::steady_timer& timer) : list_(list), at_(list.insert(list.end(), &timer)) {}
        Entry(const Entry&) = delete;
        Entry& operator=(const Entry&) = delete;
        ~Entry() { list_.erase(at_); }

    private:
        std::list<asio::steady_timer*>& list_;
        std::list<asio::steady_timer*>::iterator at_;
    };

    asio::any_io_executor loop_;
    std::list<asio::steady_timer*> waiting_;
};

}  // namespace grua
