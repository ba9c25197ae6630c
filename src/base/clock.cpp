#include "base/clock.hpp"

#include <boost/asio/steady_timer.hpp>

namespace grua {
namespace {

struct State {
    asio::steady_timer timer;
    std::function<void()> ring;
};

class Running final : public Alarm {
public:
    explicit Running(std::shared_ptr<State> state) : state_(std::move(state)) {}
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    ~Running() override {
        state_->ring = nullptr;
        state_->timer.cancel();
    }

private:
    std::shared_ptr<State> state_;
};

}  // namespace

asio::awaitable<void> wait_until(Condition& condition, Timers& timers, Clock::Point deadline) {
    std::unique_ptr<Alarm> alarm;
    if (deadline != Clock::never) alarm = timers.at(deadline, [&condition] { condition.notify_all(); });
    co_await condition.wait();
}

std::unique_ptr<Alarm> LoopTimers::at(Clock::Point when, std::function<void()> ring) {
    auto state = std::make_shared<State>(asio::steady_timer(loop_, when), std::move(ring));
    state->timer.async_wait([state](const boost::system::error_code& error) {
        // Silenced while the handler was on its way: it does not ring either.
        if (!error && state->ring) std::exchange(state->ring, nullptr)();
    });
    return std::make_unique<Running>(std::move(state));
}

}  // namespace grua
