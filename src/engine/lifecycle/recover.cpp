// The start of gruad: which containers are there, what became of them while it was away, and what of theirs is left over. The list of
// steps is at the end of this file's first part.
//
// <exec root>/containers/<id>/start.json is there from a start until its end is in the store. What came of that start:
//
//     a monitor answers              it runs, or it has ended and nobody has noted it yet
//     exit.json                      it has ended, or could not be started
//     monitor.sock, nobody listens   the monitor was killed: the status is unknown
//     none of these                  no monitor came to be, and none will (monitor.cpp): it never started
//
// Containers that go with their exit have their record in record.json beside it, not in the store. (A gruad before start.json wrote
// record.json for all, with "running" in it.) A record that cannot be read - a newer gruad's, a broken one - is a container whose
// everything is kept: it is shown as dead, and goes when somebody removes it by force.
//
// <exec root>/steps/<id> is a build's step that the last gruad did not see the end of: it is ended.
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "engine/lifecycle/given_mounts.hpp"
#include "engine/lifecycle/recover_work.hpp"
#include "engine/lifecycle/start_mark.hpp"
#include "engine/lifecycle/step_mark.hpp"
#include "engine/lifecycle/waiter.hpp"
#include "engine/model/health.hpp"
#include "engine/networking/networking.hpp"
#include "store/database.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <algorithm>
#include <array>
#include <csignal>
#include <filesystem>

namespace grua::engine {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr int exit_unknown = 255;
constexpr std::size_t longest_record = std::size_t{16} << 20U;
/// A start by restart policy that fails when gruad comes back is tried again so often: what it needs may come up meanwhile.
constexpr int most_attempts = 8;
constexpr auto first_delay = 1s;
/// Events are written together that come within it.
constexpr auto event_delay = 100ms;
/// At the end, for what was begun by itself: what takes longer waits for a disk or a network that does not answer.
constexpr auto last_patience = 5s;

using Work = std::shared_ptr<RecoverWork>;

std::vector<std::string> folders(const std::string& path) {
    std::vector<std::string> out;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(path, ignored))
        if (entry.is_directory(ignored)) out.push_back(entry.path().filename().string());
    return out;
}

std::string live_root(const Lifecycle& life) { return life.options.exec_root + "/containers"; }

/// What fails for one container is said and does not keep gruad from the others.
template <typename What>
bool try_for(const std::string& id, const char* doing, const What& what) {
    try {
        what();
        return true;
    } catch (const std::exception& error) {
        log::error("container {}: {}: {}", id, doing, error.what());
        return false;
    }
}

/// Shown, and nothing else: what is not understood is not written over, started or swept.
Leftover foreign(const std::string& id, const std::string& why) {
    ContainerRecord known;
    known.id = id;
    return {.record = kept_aside(id, why, std::move(known)).shown, .is_foreign = true};
}

void read_live_record(RecoverWork& work, const std::string& id) {
    const std::string live = live_root(work.life) + "/" + id;
    const auto known = work.all.find(id);
    if (known != work.all.end() && known->second.is_foreign) return;
    std::optional<ContainerRecord> beside;
    try {
        beside = record_from_json(read_file(live + "/record.json", longest_record));
        if (beside->id != id) fail(ErrorKind::invalid_argument, "it is of {}", beside->id);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::not_found) {
            log::error("container {}: {}", id, error.what());
            if (known == work.all.end()) work.all.emplace(id, foreign(id, error.what()));
            return;
        }
    }
    // A container that is stored but no longer in the store has been removed.
    if (known == work.all.end() && !(beside && beside->host_config.auto_remove)) return;
    Leftover& each = work.all[id];
    const bool by_record = beside && is_running(beside->state.status);
    if (known == work.all.end()) {
        each.record = *beside;
        if (by_record) each.record.state.status = Status::created;
    }
    each.start_asked = by_record;
    // Which the store need not have yet.
    ContainerRecord started = by_record ? *beside : each.record;
    const bool is_marked =
        try_for(id, "what its start left behind", [&] { each.start_asked = read_start_mark(live, started) || each.start_asked; });
    if (is_marked && each.start_asked) {
        each.record.restart_count = started.restart_count;
        each.started = std::move(started);
    }
    if (known == work.all.end() && each.start_asked && each.record.state.error.empty())
        each.record.state.error = "the daemon ended before the program started";
}

void read_records(RecoverWork& work) {
    Saver::Loaded loaded = Saver::load(work.life.saver.database(), work.life.options.data_root + "/containers");
    for (ContainerRecord& record : loaded.records) {
        std::string id = record.id;
        Leftover& each = work.all[id];
        each.record = std::move(record);
        each.is_stored = true;
    }
    for (UnreadableRecord& kept : loaded.unreadable)
        work.all.emplace(kept.id, Leftover{.record = std::move(kept.shown), .is_foreign = true});
    for (const std::string& id : folders(live_root(work.life))) read_live_record(work, id);
}

void find_monitors(RecoverWork& work) {
    for (auto& [id, each] : work.all) {
        if (each.is_foreign) continue;
        const std::string live = live_root(work.life) + "/" + id;
        try_for(id, "its monitor", [&] {
            each.task = work.life.ground.tasks.find(live, work.life.cgroup_path(each.record));
            each.exited = each.task ? each.task->monitor.exited : tasks::read_exit_file(live);
        });
        std::error_code ignored;
        each.had_monitor = each.task || fs::exists(live + "/monitor.sock", ignored);
    }
}

/// Killed in the middle of a removal: the layer goes first, the row last.
void finish_removals(RecoverWork& work) {
    Lifecycle& life = work.life;
    for (auto it = work.all.begin(); it != work.all.end();) {
        const std::string id = it->first;
        Leftover& each = it->second;
        const bool with_volumes = each.record.state.status == Status::removing;
        if (each.is_foreign || each.runs() || (!with_volumes && life.ground.roots.has(id))) {
            ++it;
            continue;
        }
        try {
            life.ground.roots.remove(id);
            if (with_volumes || each.record.host_config.auto_remove)
                for (const auto& name : each.record.anonymous_volumes) life.ground.volumes.remove(name);
            // The description in its folder says that there is a row.
            fs::remove_all(life.container_directory(id));
            if (each.is_stored) life.saver.database().execute("DELETE FROM containers WHERE id = ?", {id});
            life.ground.tasks.end_cgroup(life.cgroup_path(each.record));
            it = work.all.erase(it);
        } catch (const std::exception& error) {
            log::error("container {}: its removal cannot be finished: {}", id, error.what());
            each.unfinished = error.what();
            ++it;
        }
    }
}

/// The gruad that paused the container for a commit is gone. True where the container runs on now.
bool end_pause_for_commit(tasks::Tasks& tasks, const std::string& cgroup_path, const std::string& live) {
    std::error_code ignored;
    const std::string mark = live + pause_mark;
    if (!fs::exists(mark, ignored)) return false;
    tasks.thaw(cgroup_path);
    fs::remove(mark, ignored);
    return true;
}

/// Of a container that runs, by the descriptor of its program.
Fd network_namespace(const Leftover& each) {
    const auto& monitor = each.task->monitor;
    Fd out{::open(fmt::format("/proc/{}/ns/net", monitor.pid).c_str(), O_RDONLY | O_CLOEXEC)};
    if (!monitor.pidfd || ::syscall(SYS_pidfd_send_signal, monitor.pidfd.get(), 0, nullptr, 0) != 0) return {};
    return out;
}

void take_networking(ContainerRecord& record, ContainerRecord& given) {
    record.networks = std::move(given.networks);
    record.desired_macs = std::move(given.desired_macs);
    record.interfaces = std::move(given.interfaces);
    record.ports = std::move(given.ports);
    record.sandbox_id = std::move(given.sandbox_id);
}

void take_over_runs(RecoverWork& work) {
    Lifecycle& life = work.life;
    tasks::Tasks& tasks = life.ground.tasks;
    for (auto& [id, each] : work.all) {
        if (each.is_foreign) continue;
        const std::string path = life.cgroup_path(each.record);
        if (!each.runs()) {
            try_for(id, "its cgroup", [&] { tasks.end_cgroup(path); });
            continue;
        }
        try_for(id, "whether it is paused",
                [&] { each.is_paused = tasks.is_frozen(path) && !end_pause_for_commit(tasks, path, live_root(life) + "/" + id); });
        if (each.started) take_networking(each.record, *each.started);
        try_for(id, "its layers", [&] { each.layers = life.ground.roots.hold(id); });
        try_for(id, "images that it has mounted", [&] { each.images = hold_images(life.ground.roots, each.record); });
        work.live.push_back(attachment_of(each.record, life.options.dns));
        work.live.back().netns = network_namespace(each);
        work.live.back().resolver = resolver_of(each.task->monitor.held);
    }
}

/// Before the networks, which take away what nobody has: their addresses are given out again.
void end_steps(RecoverWork& work) {
    const std::string root = work.life.step_directory("");
    for (const std::string& id : folders(root)) {
        log::info("step {}: its gruad is gone, so it is ended", short_id(id));
        try_for(id, "a step of a build", [&] { end_leftover_step(work.life.ground.tasks, root + id); });
    }
}

void recover_networks(RecoverWork& work) { work.life.ground.sandboxes.recover(std::move(work.live)); }

/// Of a create that did not come to its record.
void remove_new_volumes(VolumeFolders& volumes, const std::string& folder) {
    try {
        for (const auto& name : split(read_file(folder + "/new_volumes"), '\n'))
            if (!name.empty()) volumes.remove(name);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::not_found) throw;
    }
}

/// What belongs to no container, and what was left of a file's replacement. Both roots are this gruad's alone.
void sweep(RecoverWork& work) {
    Lifecycle& life = work.life;
    for (const auto& [id, each] : work.all) {
        sweep_replacements(life.container_directory(id));
        if (!each.runs()) sweep_replacements(life.live_directory(id));  // Else its monitor may be writing there.
    }
    for (const auto& id : life.ground.roots.all())
        if (!work.all.contains(id)) try_for(id, "a layer that is nobody's", [&] { life.ground.roots.remove(id); });
    for (const auto& root : {live_root(life), life.options.data_root + "/containers"})
        for (const auto& id : folders(root)) {
            if (work.all.contains(id)) continue;
            const std::string folder = root + "/" + id;
            try_for(id, "volumes that were made for it", [&] { remove_new_volumes(life.ground.volumes, folder); });
            const std::string parent = life.options.cgroup_parent == "/" ? "" : life.options.cgroup_parent;
            try_for(id, "a cgroup that is nobody's", [&] { life.ground.tasks.end_cgroup(parent + "/" + id); });
            std::error_code error;
            fs::remove_all(folder, error);
            if (error) log::error("{}: {}", folder, error.message());
        }
}

/// Records become containers.
asio::awaitable<void> add_containers(Work work) {
    Lifecycle& life = work->life;
    for (auto& [id, each] : work->all) {
        const auto container = std::make_shared<Container>(life.loop, std::move(each.record));
        // A name is one container's: of an unreadable record it is not known.
        if (!life.names.try_emplace(container->record->name, id).second) {
            log::error("container {}: its name {} is another's", id, container->record->name);
            container->found([&](ContainerRecord& next) { next.name = id; });
            life.names.insert_or_assign(id, id);
        }
        life.own_itself(container->owned, *container->record);
        life.add(container);
        if (each.is_foreign) {
            container->phase = Phase::foreign;
            // Wherever its record was.
            container->owned.add(Held::row, {.on_pool = {}, .on_loop = [&life, id]() -> asio::awaitable<void> {
                                                 life.saver.remove(id);
                                                 co_await life.saver.flushed(id);
                                             }});
            container->owned.add(Held::cgroup, life.cgroup_owner(*container->record));
            log::error("container {}: {}: it is kept as it is", id, container->record->state.error);
            continue;
        }
        if (work->reconcile(container, each)) work->to_start.push_back(container);
        if (each.start_asked && !each.runs() && !container->is_settling()) work->traces.push_back(id);
    }
    co_return;
}

/// All who hold some are known now. Nobody waits for it: a server may not answer.
asio::awaitable<void> unmount_unheld(Work work) {
    work->life.spawn(work->life.ground.volumes.unmount_unheld(), "unmount volumes that nobody uses");
    co_return;
}

/// Once what came of them is in the store.
asio::awaitable<void> forget_traces(Work work) {
    Lifecycle& life = work->life;
    if (work->traces.empty()) co_return;
    for (const std::string& id : work->traces) {
        const auto found = life.containers.find(id);
        if (found == life.containers.end()) continue;
        try {
            co_await life.saver.flushed(id);
        } catch (const Error& error) {
            log::error("container {}: the traces of its start are kept: {}", id, error.what());
            continue;
        }
        found->second->owned.add(Held::traces, life.traces_owner(*found->second->record));
        co_await life.release(found->second, Held::traces, Held::traces);
    }
}

asio::awaitable<void> begin_starts(Work work) {
    log::info("{} containers found, {} of them to be started", work->life.containers.size(), work->to_start.size());
    for (const auto& container : work->to_start) work->not_attempted.insert(container->id());
    for (const auto& container : work->to_start)
        work->life.spawn(RecoverWork::start(work, container), "start a container by its restart policy");
    co_return;
}

/// A --rm container that had ended when gruad was last there: its client is gone.
asio::awaitable<void> begin_removals(Work work) {
    Lifecycle& life = work->life;
    for (const auto& [id, container] : std::map(life.containers)) {
        const ContainerRecord& record = *container->record;
        if (container->phase != Phase::idle || !record.host_config.auto_remove || is_running(record.state.status)) continue;
        if (record.state.status == Status::created && record.state.started_at == Time{} && record.state.error.empty()) continue;
        auto take_away = [](std::shared_ptr<Lifecycle> self, ContainerPtr target) -> asio::awaitable<void> {
            const Lane::Turn turn = co_await target->lane.take();
            if (!target->is_gone() && !is_running(target->record->state.status)) co_await self->remove_held(target, true);
        };
        life.spawn(take_away(work->keeps, container), "remove a container that has ended");
    }
    co_return;
}

constexpr std::array<Step<RecoverWork>, 12> recover_steps{{
    {.name = "recover:records", .on_pool = read_records},
    {.name = "recover:monitors", .on_pool = find_monitors},
    {.name = "recover:removals", .on_pool = finish_removals},
    {.name = "recover:runs", .on_pool = take_over_runs},
    {.name = "recover:steps", .on_pool = end_steps},
    {.name = "recover:networks", .on_pool = recover_networks},
    {.name = "recover:sweep", .on_pool = sweep},
    {.name = "recover:containers", .on_loop = add_containers},
    {.name = "recover:volumes", .on_loop = unmount_unheld},
    {.name = "recover:traces", .on_loop = forget_traces},
    {.name = "recover:starts", .on_loop = begin_starts},
    {.name = "recover:ended", .on_loop = begin_removals},
}};

/// What has to run before it.
std::vector<std::string> needed_by(const Lifecycle& life, const ContainerRecord& record) {
    std::vector<std::string> out;
    for (const std::string* mode : {&record.host_config.network_mode, &record.host_config.pid_mode, &record.host_config.ipc_mode}) {
        if (!mode->starts_with("container:")) continue;
        const auto found = life.find_container(std::string_view(*mode).substr(10));
        if (found) out.push_back(found->id());
    }
    for (const auto& [alias, id] : record.links) out.push_back(id);
    return out;
}

}  // namespace

/// The record becomes what was found. True where its restart policy wants it started.
bool Lifecycle::recover_container(const ContainerPtr& container, Leftover& found) {
    const State stored = container->record->state;
    const bool ran = is_running(stored.status) || stored.status == Status::restarting || found.start_asked;
    if (found.runs()) {
        container->found([&](ContainerRecord& next) {
            next.state = State{};
            next.state.health = stored.health;
            if (stored.health.status == HealthStatus::none && is_checked(next.config)) next.state.health.status = HealthStatus::starting;
            next.state.status = found.is_paused ? Status::paused : Status::running;
            next.state.pid = found.task->monitor.pid;
            next.state.started_at = found.task->monitor.started_at;
        });
        container->phase = Phase::running;
        Owned& owned = container->owned;
        owned.add(Held::network, network_owner(container->id()));
        owned.add(Held::cgroup, cgroup_owner(*container->record));
        owned.add(Held::monitor, monitor_owner(container));
        owned.add(Held::traces, traces_owner(*container->record));
        if (const StringList used = volume_names(*container->record); ground.volumes.has_mounts(used)) {
            ground.volumes.found_mounts(container->id(), used);
            owned.add(Held::mounts, mounts_owner(container->id()));
        }
        if (found.images)
            owned.add(Held::images, {.on_pool = [hold = std::exchange(found.images, nullptr)]() mutable { hold.reset(); }, .on_loop = {}});
        owned.add(Held::layers, {.on_pool = [hold = std::exchange(found.layers, nullptr)]() mutable { hold.reset(); }, .on_loop = {}});
        container->task = ground.tasks.adopt(std::move(*found.task), task_events(container, nullptr));
        publish(*container);
        save(*container);
        begin_health(container);
        return false;
    }
    if (!found.exited && (is_running(stored.status) || (found.start_asked && found.had_monitor)))
        found.exited = tasks::ExitReport{.code = exit_unknown,
                                         .finished_at = ground.clock.wall(),
                                         .error = "exit status unknown: the host or the container's monitor ended",
                                         .started_at = is_running(stored.status) ? stored.started_at : ground.clock.wall()};
    if (found.exited && found.exited->started_at == Time{} && !is_running(stored.status)) {
        container->found([&](ContainerRecord& next) {
            next.state.exit_code = found.exited->code;
            next.state.error = found.exited->error;
        });
    } else if (found.exited && (is_running(stored.status) || stored.finished_at != found.exited->finished_at)) {
        container->found([&](ContainerRecord& next) {
            next.state.status = Status::exited;
            next.state.pid = 0;
            next.state.exit_code = found.exited->code;
            next.state.oom_killed = found.exited->oom_killed;
            next.state.error = found.exited->error;
            next.state.finished_at = found.exited->finished_at;
            if (found.exited->started_at != Time{}) next.state.started_at = found.exited->started_at;
            clear_networking(next);
        });
        const auto lasted =
            std::chrono::duration_cast<std::chrono::seconds>(found.exited->finished_at - container->record->state.started_at);
        emit(*container->record, "die",
             {{"exitCode", std::to_string(found.exited->code)}, {"execDuration", std::to_string(lasted.count())}});
    }
    if (!found.unfinished.empty()) {
        container->found([&](ContainerRecord& next) {
            next.state.status = Status::dead;
            next.state.error = fmt::format("its removal cannot be finished: {}", found.unfinished);
        });
    } else if (const Status now = container->record->state.status;
               now == Status::restarting || now == Status::removing || is_running(now)) {
        container->found([](ContainerRecord& next) {
            next.state.status = Status::exited;
            next.state.pid = 0;
        });
    }
    // A monitor that waits for its exit to be noted.
    const auto task = std::exchange(found.task, std::nullopt);
    publish(*container);
    save(*container);
    const State& state = container->record->state;
    return state.status == Status::exited && starts_with_the_daemon(container->record->host_config.restart_policy, ran,
                                                                    {.exit_code = state.exit_code,
                                                                     .stopped_by_user = container->record->stopped_by_user,
                                                                     .restarts = container->record->restart_count});
}

/// After those that it needs, and once more where it could not be.
asio::awaitable<void> Lifecycle::start_recovered(std::shared_ptr<RecoverWork> work, ContainerPtr container) {
    const auto waits = [&] {
        return std::ranges::any_of(needed_by(*this, *container->record),
                                   [&](const std::string& id) { return id != container->id() && work->not_attempted.contains(id); });
    };
    // Two that need each other wait for nobody in the end: the wait has a bound.
    const auto patience = ground.clock.steady() + 60s;
    while (waits() && ground.clock.steady() < patience && !closing) co_await wait_until(work->attempted, ground.timers, patience);
    std::chrono::seconds delay = first_delay;
    for (int attempt = 1; !closing; ++attempt) {
        std::string failure;
        {
            const Lane::Turn turn = co_await container->lane.take();
            const Status status = container->record->state.status;
            if (closing || container->is_gone() || is_running(status) || status == Status::removing || status == Status::dead) break;
            if (attempt > 1 && container->record->stopped_by_user) break;
            try {
                co_await start_held(container, StartReason::recovery);
                break;
            } catch (const Error& error) {
                failure = error.what();
            }
        }
        if (attempt == most_attempts || container->record->host_config.auto_remove) {
            log::error("container {}: it is not started by its restart policy any more: {}", short_id(container->id()), failure);
            break;
        }
        log::warn("container {}: started by its restart policy: {}; again in {} s", short_id(container->id()), failure, delay.count());
        const std::uint64_t round = container->round;
        const auto deadline = ground.clock.steady() + delay;
        while (!closing && container->round == round && !container->is_gone() && ground.clock.steady() < deadline)
            co_await wait_until(container->changed, ground.timers, deadline);
        if (container->round != round) break;
        delay *= 2;
    }
    work->not_attempted.erase(container->id());
    work->attempted.notify_all();
}

/// Written down behind those who read them: a disk that is full or slow keeps nobody.
asio::awaitable<void> Lifecycle::keep_events() {
    bool is_told = false;
    for (bool last = false; !last;) {
        while (!closing && !events.has_unsaved()) co_await events.to_save().wait();
        const auto together = ground.clock.steady() + event_delay;
        while (!closing && ground.clock.steady() < together) co_await wait_until(events.to_save(), ground.timers, together);
        last = closing;
        auto write = [this, some = events.take_unsaved(), all = event_log.is_long() ? events.kept() : std::vector<Event>{}] {
            if (!all.empty())
                event_log.replace(all);
            else if (!some.empty())
                event_log.append(some);
        };
        try {
            co_await offload(pool, std::move(write));
            is_told = false;
        } catch (const Error& error) {
            if (!std::exchange(is_told, true)) log::warn("events are not kept for after a restart: {}", error.what());
        }
    }
}

asio::awaitable<void> Lifecycle::recover() {
    events.restore(co_await offload(pool, [this] { return event_log.read(); }));
    spawn(keep_events(), "keep events");
    const auto work = std::make_shared<RecoverWork>(shared_from_this());
    co_await run_steps<RecoverWork>(pool, recover_steps, work);
}

asio::awaitable<std::size_t> Lifecycle::shutdown() {
    closing = true;
    events.close();
    for (const auto& [id, container] : containers) {
        container->changed.notify_all();
        if (container->end_check) container->end_check();
        for (const auto& weak : container->waiters)
            if (const auto waiter = weak.lock()) waiter->resolve({.exit_code = 0, .error = "the daemon is shutting down"});
    }
    // First, since it still writes records and speaks to monitors.
    const auto deadline = ground.clock.steady() + last_patience;
    while (under_way > 0 && ground.clock.steady() < deadline) co_await wait_until(none_under_way, ground.timers, deadline);
    try {
        co_await saver.flushed();
    } catch (const Error& error) {
        log::error("not everything is in the store: {}", error.what());
    }
    for (const auto& [id, container] : containers)
        if (container->task) container->task->close();
    co_return under_way;
}

}  // namespace grua::engine
