// BuildKit's service LLBBridge: what a front end asks of the build that it is a part of. The client may be it, by its own connection, and
// a program in a container, by its standard streams (gateway.hpp).
#pragma once

#include "build/wire/bridge.pb.h"
#include "build/wire/worker.pb.h"
#include "grpc/server.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace grua::build {

namespace pb = wire::graph;

struct Build;
class Builder;

/// All graphs that a result has: its own, and those of what is said of it.
template <typename Take>
void each_ref(const wire::bridge::Result& result, const Take& take) {
    if (result.has_ref()) take(result.ref());
    if (result.has_refs())
        for (const auto& [name, ref] : result.refs().refs()) take(ref);
    for (const auto& [name, platform] : result.attestations())
        for (const auto& each : platform.attestation())
            if (each.has_ref()) take(each.ref());
}
template <typename Take>
void each_ref(wire::bridge::Result& result, const Take& take) {
    if (result.has_ref()) take(*result.mutable_ref());
    if (result.has_refs())
        for (auto& [name, ref] : *result.mutable_refs()->mutable_refs()) take(ref);
    for (auto& [name, platform] : *result.mutable_attestations())
        for (auto& each : *platform.mutable_attestation())
            if (each.has_ref()) take(*each.mutable_ref());
}

/// What one front end has been given, and what it says has come of it. Loop only.
class Front {
public:
    using Definitions = std::map<std::string, pb::Definition, std::less<>>;

    /// All that it may have been given.
    static constexpr std::size_t most_results = 4096;
    static constexpr std::size_t most_bytes = std::size_t{64} << 20U;
    static constexpr std::size_t most_warnings = 1000;

    /// `depth`: how many front ends stand between it and the client. `its_inputs`: graphs that others have made.
    explicit Front(int its_depth, Definitions its_inputs) : depth(its_depth), inputs(std::move(its_inputs)) {}
    Front(const Front&) = delete;
    Front& operator=(const Front&) = delete;
    ~Front() = default;

    const int depth;
    const Definitions inputs;
    std::function<void()> has_returned;  ///< Called when it has said what has come of it.

    /// Gives the result's graphs IDs.
    void keep(wire::bridge::Result& result);
    /// By its ID. Throws Error(not_found).
    const pb::Definition& definition(std::string_view id) const;

    /// What has come of it. Throws Error: conflict the second time, not_found for a result that it has not been given.
    void take(const wire::bridge::ReturnRequest& request);
    const std::optional<wire::bridge::Result>& returned() const noexcept { return returned_; }
    const std::optional<grpc::Status>& error() const noexcept { return error_; }
    bool is_done() const noexcept { return returned_ || error_; }

    void count_warning();

    /// It has ended, and nobody asks for what it was given any more.
    void forget() noexcept;

private:
    void complete(wire::bridge::Result& result) const;

    std::map<std::string, pb::Definition, std::less<>> results_;
    std::size_t bytes_ = 0;
    std::size_t warnings_ = 0;
    std::optional<wire::bridge::Result> returned_;
    std::optional<grpc::Status> error_;
};
using FrontPtr = std::shared_ptr<Front>;

/// Whose call it is.
struct Caller {
    std::shared_ptr<Build> build;
    FrontPtr front;
};
/// Throws Error where it is nobody's.
using FindCaller = std::function<asio::awaitable<Caller>(const grpc::ServerCall& call)>;

/// Ping, Solve, Return, Inputs, Warn. `builder` outlives the services.
void add_bridge(grpc::Services& services, FindCaller find, Builder& builder);

/// grpc.health.v1: we are.
void add_health(grpc::Services& services);

}  // namespace grua::build
