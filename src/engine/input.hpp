// What flows in while it is read, from a client that may leave.
#pragma once

#include "base/fd.hpp"

#include <functional>

namespace grua::engine {

/// A client that leaves early ends it early, which looks like its end: whoever has read to the end of the file calls `check` before it
/// makes anything of what it read, which throws then. Both are for any thread.
struct Input {
    Fd reading;
    std::function<void()> check;
};

/// Makes it, when it is clear that somebody will read it.
using OpenInput = std::function<Input()>;

}  // namespace grua::engine
