// A build of POST /build while it goes on, for who answers the request.
#pragma once

#include "base/async.hpp"

#include <memory>
#include <optional>
#include <string>

namespace grua::build {

/// It ends with this. Loop only.
class ClassicBuild {
public:
    struct State;
    explicit ClassicBuild(std::shared_ptr<State> state) : state_(std::move(state)) {}
    ClassicBuild(const ClassicBuild&) = delete;
    ClassicBuild& operator=(const ClassicBuild&) = delete;
    ~ClassicBuild();

    /// Lines of the answer as they come; nothing at their end. It throws where there is no answer yet: that is the request's failure then.
    asio::awaitable<std::optional<std::string>> next();

private:
    std::shared_ptr<State> state_;
};
using ClassicBuildPtr = std::unique_ptr<ClassicBuild>;

}  // namespace grua::build
