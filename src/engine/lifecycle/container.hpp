// One container as the loop knows it: its record and what lives with it.
#pragma once

#include "base/async.hpp"
#include "base/condition.hpp"
#include "engine/engine.hpp"
#include "engine/model/record.hpp"
#include "engine/model/restart_policy.hpp"
#include "engine/model/state_machine.hpp"
#include "tasks/monitor_link.hpp"

#include <boost/asio/posix/stream_descriptor.hpp>
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

struct Container {
    Container(const asio::any_io_executor& loop, ContainerRecord first)
        : lane(loop), changed(loop), record(std::make_shared<const ContainerRecord>(std::move(first))) {}

    /// Throws Error(conflict) where the status may not become that; the record is as before then.
    template <typename Change>
    void update(Change change) {
        ContainerRecord next = *record;
        change(next);
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

    Lane lane;
    Condition changed;  ///< Record, cleaning, start_error.
    RecordPtr record;

    std::shared_ptr<tasks::MonitorLink> link;  ///< While it runs.
    Fd pidfd;
    std::shared_ptr<const void> layers;  ///< Its layers stay as they are while it runs.
    std::vector<std::shared_ptr<PendingAttach>> attaches;
    std::list<std::weak_ptr<WaiterState>> waiters;
    RestartDelay delay;
    std::optional<Error> start_error;  ///< What the monitor said of the start that is under way.
    bool cleaning = false;             ///< After an exit, until network and cgroup are free again.
    bool holds_network = false;        ///< After an exit, until its networks and ports are free again: nobody is told of the end before.
    bool keep_after_exit = false;      ///< A restart is under way: --rm does not apply.
    bool gone = false;                 ///< Removed; only references are left.
    bool removal_failed = false;       ///< It is still there, and may be removed again.
};

using ContainerPtr = std::shared_ptr<Container>;

/// Kept by the container weakly: a client that goes away is forgotten.
class WaiterState : public Waiter {
public:
    WaiterState(const asio::any_io_executor& loop, WaitCondition asked) : condition(asked), done(loop) {}

    asio::awaitable<WaitResult> result() override {
        while (!value) co_await done.wait();
        co_return *value;
    }

    void resolve(const WaitResult& with) {
        if (!value) value = with;
        done.notify_all();
    }

    const WaitCondition condition;
    Condition done;
    std::optional<WaitResult> value;
};

}  // namespace grua::engine
