#pragma once

#include "engine/lifecycle/container.hpp"
#include "engine/watch.hpp"

namespace grua::engine {

/// Kept by the container weakly: a client that goes away is forgotten.
class WaiterState : public Waiter {
public:
    WaiterState(const asio::any_io_executor& loop, WaitCondition asked) : condition(asked), done(loop) {}

    asio::awaitable<WaitResult> result() override {
        while (!value) co_await done.wait();
        co_return *value;
    }

    void resolve(const WaitResult& with) {
        if (!value) value = with;
        if (!tells_error) value->error.clear();
        done.notify_all();
    }

    const WaitCondition condition;
    Condition done;
    bool tells_error = true;  ///< False where who waits was there when a start failed: whoever asked for it was told.
    std::optional<WaitResult> value;
};

}  // namespace grua::engine
