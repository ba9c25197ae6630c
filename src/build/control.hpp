// BuildKit's service Control as clients call it: which call belongs to which build, and in which order they may come. What a build does is
// behind Builder, what front ends ask is bridge.hpp.
//
// `docker build` begins a build without a front end, is the front end itself - it asks LLBBridge to solve, and returns what came - and
// listens to Status all the while; these calls come in any order, so each waits a little for the build that it names.
#pragma once

#include "base/clock.hpp"
#include "base/condition.hpp"
#include "base/id.hpp"
#include "build/bridge.hpp"
#include "build/history.hpp"
#include "build/journal.hpp"
#include "build/provenance.hpp"
#include "build/session.hpp"
#include "build/wire/bridge.pb.h"
#include "build/wire/control.pb.h"
#include "grpc/server.hpp"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

class ImportedCache;

/// One build, from its Solve to its end. Loop only.
struct Build {
    Build(const asio::any_io_executor& loop, const Clock& clock, wire::control::SolveRequest asked)
        : request(std::move(asked)),
          journal(loop, clock),
          changed(loop),
          front(std::make_shared<Front>(0, Front::Definitions{request.frontendinputs().begin(), request.frontendinputs().end()})) {
        front->has_returned = [this] { changed.notify_all(); };
        record.invocation = random_hex(invocation_size);
        record.started = clock.wall();
    }

    const wire::control::SolveRequest request;
    Journal journal;
    Condition changed;
    const FrontPtr front;                                  ///< The client's own, where it is the front end.
    std::size_t front_ends = 0;                            ///< That run in containers now.
    BuildRecord record;                                    ///< For provenance; what its end adds is not there yet.
    std::vector<BuildOutcome::Attestation> provenance;     ///< Of its results, for the history.
    std::vector<std::shared_ptr<const void>> wanted;       ///< See WantedVertices.
    std::string project;                                   ///< Which builds are of the same; known once there is something to run.
    MadeSteps made;                                        ///< What became of its operations, for the history.
    std::map<std::string, std::string, std::less<>> keys;  ///< Of its operations, by their digests.
    /// What it may take from elsewhere: looked for once, by whoever needs it first.
    struct Imported {
        bool is_begun = false;
        bool is_there = false;
        std::shared_ptr<ImportedCache> cache;  ///< Null where there is none.
    };
    Imported imported;
    VertexPtr failed;              ///< What it has failed with, where that was an operation ...
    std::optional<int> exit_code;  ///< ... and that a program.

    /// Who has begun it, where that is no client's call; what it throws fails the build.
    struct Onlooker {
        std::function<void(const std::shared_ptr<Build>& build)> begun;
        /// Between the front end and what is run: the graph may be changed.
        std::function<void(wire::bridge::Result& result)> converted;
    };
    Onlooker onlooker;

private:
    static constexpr std::size_t invocation_size = 16;
};
using BuildPtr = std::shared_ptr<Build>;

/// Does what the calls ask for.
class Builder {
public:
    virtual ~Builder() = default;

    /// A front end of ours or in a container, or a graph as it is: no more is done than that needs.
    virtual asio::awaitable<wire::bridge::Result> solve(Caller caller, wire::bridge::SolveRequest request) = 0;

    /// Runs what a graph says.
    virtual asio::awaitable<ResultPtr> make(BuildPtr build, pb::Definition definition) = 0;

    /// Runs what the result is made of and gives it to the exporters; what they answer is told to the client.
    virtual asio::awaitable<std::map<std::string, std::string>> finish(BuildPtr build, wire::bridge::Result result) = 0;

    /// Who builds here.
    virtual wire::worker::WorkerRecord worker() const = 0;
};

class Control {
public:
    /// All of them outlive this, and this outlives the services' calls.
    /// `history`: may be null.
    Control(asio::any_io_executor loop, const Clock& clock, Timers& timers, Sessions& sessions, Builder& builder,
            History* history = nullptr);

    void add_to(grpc::Services& services);

    std::size_t count() const noexcept { return builds_.size(); }

    /// As a client's call Solve.
    asio::awaitable<wire::control::SolveResponse> solve(wire::control::SolveRequest request, Build::Onlooker onlooker = {});

    /// The build that a call of a client's front end belongs to: the call's metadata names it.
    FindCaller callers();

private:
    class Registered;
    BuildPtr known(std::string_view ref) const;
    asio::awaitable<BuildPtr> find(std::string ref);
    asio::awaitable<wire::control::SolveResponse> run(BuildPtr build);
    asio::awaitable<wire::bridge::Result> front_end_outside(BuildPtr build);
    asio::awaitable<void> tell_status(grpc::ServerCall& call);
    void add_control(grpc::Services& services);

    asio::any_io_executor loop_;
    const Clock& clock_;
    Timers& timers_;
    Sessions& sessions_;
    Builder& builder_;
    History* history_;
    Condition changed_;
    std::map<std::string, BuildPtr, std::less<>> builds_;
    std::deque<std::pair<std::string, BuildPtr>> ended_;  ///< The last ones: who asks for their status may come late.
};

}  // namespace grua::build
