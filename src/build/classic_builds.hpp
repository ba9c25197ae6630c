// All builds of POST /build: their context comes with the request, their answer is a stream of lines.
//
//     the body ──► a folder of this build's own ──► given to the builder as a client's session would (given_sessions.hpp)
//     a Dockerfile that can be read ──► from here on all is told in lines, errors too
//     a journal ──► lines: of steps (classic_text.hpp), or BuildKit's messages as they are
//
// Loop only.
#pragma once

#include "base/clock.hpp"
#include "base/transfers.hpp"
#include "build/classic_build.hpp"
#include "build/classic_request.hpp"
#include "build/context_store.hpp"
#include "build/control.hpp"
#include "build/session.hpp"
#include "engine/input.hpp"

#include <functional>
#include <memory>
#include <string>

namespace grua::build {

struct ClassicWork;

class ClassicBuilds {
public:
    /// All of them outlive this, and this outlives its builds: see shutdown().
    struct Surroundings {
        asio::any_io_executor loop;
        asio::thread_pool& pool;
        Transfers& transfers;
        const Clock& clock;
        Timers& timers;
        ContextStore& contexts;
        Sessions& sessions;
        Control& control;
        /// Of the image of this name that is here; empty where there is none. Throws Error(invalid_argument) for what is no name.
        std::function<std::string(const std::string& reference)> image_id;
    };
    explicit ClassicBuilds(Surroundings surroundings);
    ~ClassicBuilds();

    /// `body`: the context, where the request has it there. Of a request that check() has let pass.
    ClassicBuildPtr begin(ClassicRequest request, engine::Input body);

    /// The context of a build that waits for it by this ID ("upload-request:x" is for x), in a request of its own; comes back when it has
    /// been read. Throws where nobody comes for it within 5 s.
    asio::awaitable<void> upload(std::string id, engine::Input body);

    /// Nothing where there is none by this ID.
    void cancel(const std::string& id);

    /// Ends all; comes back when they have ended.
    asio::awaitable<void> shutdown();

private:
    std::shared_ptr<ClassicWork> work_;
};

}  // namespace grua::build
