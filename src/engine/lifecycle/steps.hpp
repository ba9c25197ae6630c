// What is done in an order that matters is a list of steps: a name and what it does. A crash point and a fault point stand before
// each under its name, so tests end or fail every step, and whoever reports an error can say where it was.
#pragma once

#include "base/async.hpp"
#include "base/error.hpp"
#include "base/fault_point.hpp"
#include "base/files.hpp"

#include <memory>
#include <span>

namespace grua::engine {

/// What the steps of one piece of work share. `Work` derives from it.
struct AtStep {
    const char* at = "";  ///< The step that was begun last.
};

/// One of the two. What may block is done on the pool, what touches the loop's objects on the loop.
template <typename Work>
struct Step {
    const char* name;
    void (*on_pool)(Work&) = nullptr;
    asio::awaitable<void> (*on_loop)(std::shared_ptr<Work>) = nullptr;
};

inline void pass(AtStep& work, const char* name) {
    work.at = name;
    crash_point(name);
    begin_step(name);
}

/// One after the other, until one throws. Steps of the pool that follow each other go there together.
template <typename Work>
asio::awaitable<void> run_steps(asio::thread_pool& pool, std::span<const Step<Work>> steps, std::shared_ptr<Work> work) {
    while (!steps.empty()) {
        if (const Step<Work>& step = steps.front(); step.on_loop != nullptr) {
            pass(*work, step.name);
            co_await step.on_loop(work);
            steps = steps.subspan(1);
            continue;
        }
        std::size_t count = 0;
        while (count < steps.size() && steps[count].on_loop == nullptr) ++count;
        auto group = [work, some = steps.first(count)] {
            for (const Step<Work>& step : some) {
                pass(*work, step.name);
                step.on_pool(*work);
            }
        };
        co_await offload(pool, std::move(group));
        steps = steps.subspan(count);
    }
}

}  // namespace grua::engine
