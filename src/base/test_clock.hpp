// A clock for tests: it stands still until the test turns it.
#pragma once

#include "base/clock.hpp"

#include <list>

namespace grua {

class TurnedClock final : public Clock, public Timers {
public:
    Point steady() const override { return steady_; }
    Time wall() const override { return wall_; }

    std::unique_ptr<Alarm> at(Point when, std::function<void()> ring) override {
        alarms_->push_back({.when = when, .ring = std::move(ring)});
        return std::make_unique<Set>(alarms_, std::prev(alarms_->end()));
    }

    /// What is due rings, the earliest first; the loop has to run afterwards.
    void turn(std::chrono::nanoseconds by) {
        const Point end = steady_ + by;
        for (;;) {
            auto next = alarms_->end();
            for (auto each = alarms_->begin(); each != alarms_->end(); ++each)
                if (each->ring && each->when <= end && (next == alarms_->end() || each->when < next->when)) next = each;
            if (next == alarms_->end()) break;
            advance_to(std::max(steady_, next->when));
            std::exchange(next->ring, nullptr)();
        }
        advance_to(end);
    }

    /// When the next one is due; never, where none is set.
    Point next() const {
        Point out = never;
        for (const auto& each : *alarms_)
            if (each.ring) out = std::min(out, each.when);
        return out;
    }

private:
    struct Entry {
        Point when;
        std::function<void()> ring;
    };
    using Entries = std::list<Entry>;
    class Set final : public Alarm {
    public:
        Set(std::shared_ptr<Entries> entries, Entries::iterator at) : entries_(std::move(entries)), at_(at) {}
        Set(const Set&) = delete;
        Set& operator=(const Set&) = delete;
        ~Set() override { entries_->erase(at_); }

    private:
        std::shared_ptr<Entries> entries_;
        Entries::iterator at_;
    };

    void advance_to(Point to) {
        wall_ += std::chrono::duration_cast<Time::duration>(to - steady_);
        steady_ = to;
    }

    Point steady_{std::chrono::hours(1)};
    Time wall_{std::chrono::hours(24 * 365 * 56)};
    std::shared_ptr<Entries> alarms_ = std::make_shared<Entries>();
};

}  // namespace grua
