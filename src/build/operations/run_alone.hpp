// A program of an operation that no graph has: of a front end's container. Nothing that it writes is kept.
#pragma once

#include "build/operations/operations.hpp"

namespace grua::build {

struct ProgramStreams {
    Fd socket;                                                 ///< As StepRequest::streams.
    std::function<void(int stream, std::string_view)> output;  ///< Of standard error; may be empty.
};

/// Of `work` the vertex, the inputs and the session count. `place` outlives it. As Steps::run().
asio::awaitable<engine::StepEnd> run_alone(Workplace& place, Worker::Work work, ProgramStreams streams);

}  // namespace grua::build
