// One container as the loop knows it: its record and what lives with it.
#pragma once

#include "base/async.hpp"
#include "base/condition.hpp"
#include "engine/lifecycle/owned.hpp"
#include "engine/model/record.hpp"
#include "engine/model/restart_policy.hpp"
#include "engine/model/state_machine.hpp"
#include "tasks/task.hpp"

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <vector>

namespace grua::engine {

/// A client that came before the start. One that leaves before it is forgotten.
struct PendingAttach {
    tasks::AttachRequest request;
    asio::posix::stream_descriptor client;
};

/// More clients than this may not wait for one container's start.
inline constexpr std::size_t pending_attach_limit = 100;

class WaiterState;
struct StartWork;

/// What the engine is about with it, beside the status that everybody sees. Loop only.
enum class Phase : std::uint8_t {
    idle,      ///< Nothing of a run is held, but what could not be let go of.
    starting,  ///< The steps of a start are under way.
    running,
    ending,    ///< It has ended; its networks and ports are not free yet, so nobody is told.
    settling,  ///< Told; the rest of its run is let go of.
    foreign,   ///< Its record cannot be read here: nothing of it is touched, but when somebody removes it.
    gone,      ///< Removed; only references are left.
};

struct Container {
    Container(const asio::any_io_executor& loop, ContainerRecord first)
        : lane(loop), changed(loop), record(std::make_shared<const ContainerRecord>(std::move(first))) {}

    /// Throws Error(conflict) where the status may not become that; the record is as before then.
    template <typename Change>
    void update(Change change) {
        ContainerRecord next = *record;
        change(next);
        become(std::move(next));
    }
    void become(ContainerRecord next) {
        check_change(next.id, record->state.status, next.state.status);
        record = std::make_shared<const ContainerRecord>(std::move(next));
    }

    /// Recovery only: what was found counts, whatever the record said.
    template <typename Change>
    void found(Change change) {
        ContainerRecord next = *record;
        change(next);
        record = std::make_shared<const ContainerRecord>(std::move(next));
    }

    const std::string& id() const { return record->id; }

    bool is_gone() const noexcept { return phase == Phase::gone; }
    /// After an exit, until everything of the run was let go of once.
    bool is_settling() const noexcept { return phase == Phase::ending || phase == Phase::settling; }
    /// A restart is under way: neither --rm nor the restart policy have a say in this end.
    bool is_restarting() const noexcept { return !restarts.expired(); }

    Lane lane;
    Condition changed;  ///< Record or phase.
    RecordPtr record;
    Phase phase = Phase::idle;
    std::uint64_t round = 0;  ///< Grows with each start: what was planned in an older one is void.

    tasks::TaskPtr task;  ///< From a start until the end has been settled.
    Owned owned;          ///< Of its run and of itself.
    std::vector<std::shared_ptr<PendingAttach>> attaches;
    std::list<std::weak_ptr<WaiterState>> waiters;
    RestartDelay delay;
    std::weak_ptr<StartWork> starting;    ///< The start that is under way.
    std::weak_ptr<const void> restarts;   ///< Held by whoever restarts it.
    std::function<void()> end_check;      ///< Of its health that is under way.
    std::chrono::seconds health_pause{};  ///< Before it is restarted again because it is unhealthy.
    std::chrono::seconds retry{};         ///< After which what could not be let go of was tried again last.
};

using ContainerPtr = std::shared_ptr<Container>;

}  // namespace grua::engine
