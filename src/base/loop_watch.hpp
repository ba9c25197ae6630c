// Who holds the loop, and for how long: an executor around the loop's own that times every turn, from when the loop begins
// to run something until it may look for the next. A turn that takes too long is logged with its name while gruad runs,
// the longest one when it ends.
//
// Everything that is made with such an executor - coroutines, timers, sockets - runs by it. A turn costs two reads of the
// clock. What is counted is the loop's own fault: the time that the thread waited for a processor is subtracted (the kernel
// keeps it in schedstat; it is read at most 200 times a second, so it is right within 5 ms).
#pragma once

#include "base/fd.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace grua {

namespace asio = boost::asio;

/// All but the constructor belongs to the loop's thread.
class LoopWatch {
public:
    using Clock = std::chrono::steady_clock;

    /// Whatever holds the loop longer than this is logged. Ten clients that each wait so long see a fifth of a second.
    static constexpr std::chrono::milliseconds usual_limit{20};

    /// In the thread that will run the loop.
    explicit LoopWatch(std::chrono::milliseconds limit = usual_limit);
    LoopWatch(const LoopWatch&) = delete;
    LoopWatch& operator=(const LoopWatch&) = delete;

    /// What is made with it is timed, under the name of "gruad" where it has none of its own. The watch outlives it.
    asio::any_io_executor executor(asio::io_context& loop);

    /// Forgets what was so far: nobody is served before the engine has recovered.
    void begin();

    struct Turn {
        Clock::duration length{};
        std::string name;
    };
    const Turn& longest() const noexcept { return longest_; }

    /// One for each thing that goes by a name of its own. They are used again and never freed before the watch: an executor
    /// may outlive its owner by a turn.
    struct Name {
        LoopWatch* watch;
        std::string text;
    };

    /// From begin to end one turn; a turn within a turn belongs to it, and lends it its name where it took longest.
    class Running {
    public:
        explicit Running(Name& name);
        Running(const Running&) = delete;
        Running& operator=(const Running&) = delete;
        ~Running();

    private:
        Name& name_;
        Clock::time_point began_;
    };

private:
    friend class TurnName;
    struct Sample {
        Clock::time_point at;
        std::chrono::nanoseconds waited;
    };
    void enter(Clock::time_point now);
    void leave(const Name& name, Clock::time_point began);
    void judge(std::string_view name, Clock::duration length);
    std::chrono::nanoseconds waited_for_a_processor() const;

    const std::chrono::milliseconds limit_;
    const Fd schedstat_;
    std::deque<Name> names_;
    std::vector<Name*> free_;
    Name* unnamed_;
    int depth_ = 0;
    Sample sample_{};
    Clock::duration longest_inner_{};
    std::string inner_name_;
    Turn longest_;
};

/// A name for the turns of what is made with executor(); ends with its owner. Where the loop is not watched it does nothing.
class TurnName {
public:
    TurnName(const asio::any_io_executor& loop, std::string_view name);
    TurnName(const TurnName&) = delete;
    TurnName& operator=(const TurnName&) = delete;
    ~TurnName();

    const asio::any_io_executor& executor() const noexcept { return executor_; }

    /// From the turn that runs now on.
    void change(std::string_view name);

private:
    LoopWatch::Name* name_ = nullptr;
    asio::any_io_executor executor_;
};

namespace detail {

template <typename Inner>
class WatchedExecutor {
public:
    WatchedExecutor(Inner inner, LoopWatch::Name* name) noexcept : inner_(std::move(inner)), name_(name) {}

    template <typename Property>
        requires asio::can_query<const Inner&, Property>::value
    decltype(auto) query(const Property& property) const noexcept {
        return asio::query(inner_, property);
    }

    template <typename Property>
        requires asio::can_require<const Inner&, Property>::value
    auto require(const Property& property) const noexcept {
        auto changed = asio::require(inner_, property);
        return WatchedExecutor<decltype(changed)>{std::move(changed), name_};
    }

    template <std::invocable Function>
    void execute(Function&& function) const {
        inner_.execute([name = name_, work = std::forward<Function>(function)]() mutable {
            const LoopWatch::Running turn{*name};
            std::move(work)();
        });
    }

    bool operator==(const WatchedExecutor&) const noexcept = default;

    const Inner& inner() const noexcept { return inner_; }
    LoopWatch::Name* name() const noexcept { return name_; }

private:
    Inner inner_;
    LoopWatch::Name* name_;
};

}  // namespace detail

}  // namespace grua
