#include "base/condition.hpp"

#include <boost/asio/as_tuple.hpp>

namespace grua {

class Condition::Entry {
public:
    Entry(std::list<asio::steady_timer*>& list, asio::steady_timer& timer) : list_(list), at_(list.insert(list.end(), &timer)) {}
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;
    ~Entry() { list_.erase(at_); }

private:
    std::list<asio::steady_timer*>& list_;
    std::list<asio::steady_timer*>::iterator at_;
};

asio::awaitable<void> Condition::wait(Clock::time_point deadline) {
    asio::steady_timer timer(loop_, deadline);
    const Entry entry(waiting_, timer);
    (void)co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
}

void Condition::notify_all() {
    for (asio::steady_timer* each : waiting_) each->cancel();
}

}  // namespace grua
