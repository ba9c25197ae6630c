// How a step of a build is run. What it takes has an owner (lifecycle/owned.hpp) from before it is taken; success, failure, and who has no
// interest any more let go through the one list: processes, network, cgroup, monitor, mount points, and the live folder when all of it is
// gone, since by that the next gruad finds what is left.
#pragma once

#include "base/async.hpp"
#include "base/condition.hpp"
#include "engine/lifecycle/lifecycle.hpp"
#include "engine/steps.hpp"

#include <cstddef>
#include <list>
#include <memory>

namespace grua::engine {

struct StepWork;

/// All that run. Loop only.
class StepRuns {
public:
    /// Which outlives this, and every run.
    explicit StepRuns(Lifecycle& life);
    StepRuns(const StepRuns&) = delete;
    StepRuns& operator=(const StepRuns&) = delete;

    /// As Steps::run().
    asio::awaitable<StepEnd> run(StepRequest request);

    /// Ends all, and takes no more. How many have not come to their end: what they use may not be destroyed.
    asio::awaitable<std::size_t> shutdown();

    std::size_t running() const noexcept { return running_.size(); }

private:
    asio::awaitable<StepEnd> live(std::shared_ptr<StepWork> work);
    asio::awaitable<bool> let_go(std::shared_ptr<StepWork> work);
    asio::awaitable<void> try_again(std::shared_ptr<StepWork> work);

    Lifecycle& life_;
    std::list<StepWork*> running_;
    bool closing_ = false;
    Condition changed_;  ///< One has ended, or the end has come.
};

}  // namespace grua::engine
