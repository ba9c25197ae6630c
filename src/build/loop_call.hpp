// A function of the loop's that a thread calls while somebody on the loop waits for the thread: progress, output. Who has gone, as the
// cancelled do, hears no more.
#pragma once

#include "base/async.hpp"

#include <functional>
#include <memory>
#include <utility>

namespace grua::build {

/// Lives in the frame of who waits. Loop only, but for what remote() gives.
template <typename... Args>
class LoopCall {
    using Function = std::function<void(Args...)>;

public:
    LoopCall(asio::any_io_executor loop, Function function)
        : loop_(std::move(loop)), function_(std::make_shared<Function>(std::move(function))) {}
    LoopCall(const LoopCall&) = delete;
    LoopCall& operator=(const LoopCall&) = delete;
    ~LoopCall() { *function_ = {}; }

    /// For a thread; empty where the function is. In the order of the calls, and before whoever waits for the thread goes on.
    Function remote() const {
        if (!*function_) return {};
        return [loop = loop_, function = function_](Args... args) {
            asio::post(loop, [function, ... args = std::move(args)] {
                if (*function) (*function)(args...);
            });
        };
    }

private:
    asio::any_io_executor loop_;
    std::shared_ptr<Function> function_;
};

}  // namespace grua::build
