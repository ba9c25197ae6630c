// What the steps of recovery share.
#pragma once

#include "engine/lifecycle/lifecycle.hpp"
#include "engine/lifecycle/steps.hpp"

#include <set>

namespace grua::engine {

/// What became of a container while no gruad was there.
struct Leftover {
    ContainerRecord record;
    std::optional<tasks::FoundTask> task;  ///< Its monitor answers.
    std::optional<tasks::ExitReport> exited;
    bool is_stored = false;
    bool start_asked = false;  ///< Since its state was stored.
    bool had_monitor = false;
    bool is_paused = false;
    bool is_foreign = false;  ///< Its record cannot be read: nothing of it is touched.
    std::string unfinished;   ///< Why its removal did not come to its end.
    Roots::Hold layers;
    Roots::Hold images;                      ///< That it has mounted.
    std::optional<ContainerRecord> started;  ///< With what its networks gave the last start.

    bool runs() const { return task && !task->monitor.exited; }
};

struct RecoverWork : AtStep {
    explicit RecoverWork(std::shared_ptr<Lifecycle> engine) : keeps(std::move(engine)), life(*keeps), attempted(life.loop) {}
    bool reconcile(const ContainerPtr& container, Leftover& found) const { return life.recover_container(container, found); }
    static asio::awaitable<void> start(const std::shared_ptr<RecoverWork>& work, const ContainerPtr& container) {
        return work->life.start_recovered(work, container);
    }

    std::shared_ptr<Lifecycle> keeps;
    Lifecycle& life;
    std::map<std::string, Leftover> all;
    std::vector<network::Attachment> live;
    std::vector<std::string> traces;      ///< Of starts that came to nothing, whose end nothing else follows.
    std::vector<ContainerPtr> to_start;   ///< By their restart policy.
    std::set<std::string> not_attempted;  ///< Those of them whose start has not been tried yet.
    Condition attempted;
};

}  // namespace grua::engine
