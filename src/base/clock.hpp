// Time as it comes in from outside: what waits by a clock is tested with one that the test turns (base/test_clock.hpp).
#pragma once

#include "base/async.hpp"
#include "base/condition.hpp"
#include "base/text.hpp"

#include <functional>
#include <memory>
#include <utility>

namespace grua {

class Clock {
public:
    using Point = Condition::Clock::time_point;
    static constexpr Point never = Point::max();

    virtual ~Clock() = default;
    virtual Point steady() const = 0;  ///< Never set back: for deadlines and delays.
    virtual Time wall() const = 0;     ///< For what is shown and stored.
};

/// Rings once; destroyed before, it does not ring.
class Alarm {
public:
    virtual ~Alarm() = default;
};

/// Loop only.
class Timers {
public:
    virtual ~Timers() = default;
    /// `ring` runs on the loop.
    [[nodiscard]] virtual std::unique_ptr<Alarm> at(Clock::Point when, std::function<void()> ring) = 0;
};

/// Until the condition is notified or `deadline` has come; whoever waits looks again.
asio::awaitable<void> wait_until(Condition& condition, Timers& timers, Clock::Point deadline);

class SystemClock final : public Clock {
public:
    Point steady() const override { return Condition::Clock::now(); }
    Time wall() const override { return now(); }
};

class LoopTimers final : public Timers {
public:
    explicit LoopTimers(asio::any_io_executor loop) : loop_(std::move(loop)) {}

    std::unique_ptr<Alarm> at(Clock::Point when, std::function<void()> ring) override;

private:
    asio::any_io_executor loop_;
};

}  // namespace grua
