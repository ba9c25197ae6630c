// Front ends that are images: `# syntax=NAME`, and "gateway.v0" of clients.
//
// The image's program runs as a step of the build. Its standard input and output are one HTTP/2 connection on which it is the client and
// LLBBridge (bridge.hpp) is served; what it writes to standard error is shown as a step's output. It is anybody's program: it has nothing
// but that connection and what any RUN has, its calls are those of the build's client with the same rights, and however it behaves it ends,
// at the latest with the build.
#pragma once

#include "base/clock.hpp"
#include "build/bridge.hpp"
#include "engine/steps.hpp"
#include "oci/image_config.hpp"

#include <chrono>
#include <functional>
#include <map>
#include <string>

namespace grua::build {

class Operations;

/// How long a program is waited for that does not do what front ends do.
struct FrontEndTimes {
    std::chrono::seconds first_words{60};  ///< From its start to the first byte of its connection.
    std::chrono::seconds end{10};          ///< From its result, or the end of its connection, to its own end.
};

/// A program that is to be a front end.
struct FrontEndProgram {
    std::string name;  ///< Of the image, for errors.
    engine::StepRequest request;
    std::function<asio::awaitable<engine::StepEnd>(engine::StepRequest)> run;  ///< As Steps::run().
    FrontPtr front;
    FrontEndTimes times;
};

/// What it has returned. `services` are those of `front`. Comes back when the program and all of its calls have ended, where the caller is
/// cancelled as well. Throws what it has returned as an error, or Error that says what it did wrong.
asio::awaitable<wire::bridge::Result> run_program(FrontEndProgram program, const grpc::Services& services, asio::any_io_executor loop,
                                                  const Clock& clock, Timers& timers);

struct GatewayRequest {
    std::string source;                                       ///< The image.
    std::map<std::string, std::string, std::less<>> options;  ///< All of them, with "source" and "cmdline".
    Front::Definitions inputs;
};

/// A front end of a build, with all that it needs. `caller`: who asks for it. All of the others outlive the call.
asio::awaitable<wire::bridge::Result> run_gateway(GatewayRequest request, Caller caller, Builder& builder, Operations& operations,
                                                  const Clock& clock);

/// What its environment says: BuildKit's variables beside the image's own.
std::vector<std::string> front_end_environment(const oci::ImageConfig& image, const GatewayRequest& request, const std::string& session,
                                               const wire::worker::WorkerRecord& worker);

/// Throws grpc::CallError(unimplemented) where the build needs something of its front end that this image does not say it has.
void check_front_end_abilities(const oci::ImageConfig& image, const GatewayRequest& request);

}  // namespace grua::build
