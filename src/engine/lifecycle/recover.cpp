// The start of gruad: which containers are there, what became of them while it was away, and what of theirs is left over.
//
// <exec root>/containers/<id>/record.json, where it exists, is newer than the store's record: it is written before a start
// and taken away after the exit has been stored. "running" in it means that a start was asked for. What came of it:
//
//     a monitor answers              it runs, or it has ended and nobody has noted it yet
//     exit.json                      it has ended, or could not be started
//     monitor.sock, nobody listens   the monitor was killed: the status is unknown
//     none of these                  no monitor came to be, and none will (monitor.cpp): it never started
#include "base/files.hpp"
#include "base/log.hpp"
#include "engine/engine_impl.hpp"
#include "engine/networking/networking.hpp"
#include "layers/layers.hpp"
#include "volumes/volumes.hpp"

#include <fcntl.h>
#include <csignal>
#include <filesystem>

namespace grua::engine {
namespace {

namespace fs = std::filesystem;

constexpr int exit_unknown = 255;

struct Leftover {
    ContainerRecord record;
    std::optional<tasks::FoundMonitor> monitor;
    std::optional<tasks::ExitReport> exited;
    bool stored = false;
    bool start_asked = false;  ///< Since its state was stored.
    bool had_monitor = false;
    bool paused = false;
    layers::LayerStore::Hold layers{};
    std::optional<ContainerRecord> live;  ///< With the networking that the last start gave it.
};

std::vector<std::string> folders(const std::string& path) {
    std::vector<std::string> out;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(path, ignored))
        if (entry.is_directory(ignored)) out.push_back(entry.path().filename().string());
    return out;
}

void remove_cgroup(const linux::CgroupMounts& mounts, const std::string& path) {
    try {
        auto cgroup = linux::Cgroup::open(mounts, linux::CgroupPath::parse(path));
        cgroup.kill(SIGKILL);
        cgroup.remove();
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::not_found) log::warn("cgroup {}: {}", path, error.what());
    }
}

/// Of a create that did not come to its record.
void remove_new_volumes(volumes::Volumes& volumes, const std::string& live) {
    try {
        for (const auto& name : split(read_file(live + "/new_volumes"), '\n'))
            if (!name.empty() && volumes.find(name)) volumes.remove(name, {});
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::not_found) log::warn("{}: {}", live, error.what());
    }
}

std::map<std::string, Leftover> read_records(store::Database& database, const std::string& live_root) {
    std::map<std::string, Leftover> out;
    for (ContainerRecord& record : Saver::load(database)) {
        std::string id = record.id;
        out.emplace(std::move(id), Leftover{.record = std::move(record), .monitor = {}, .exited = {}, .stored = true});
    }
    for (const auto& id : folders(live_root)) {
        try {
            ContainerRecord record = record_from_json(read_file(live_root + "/" + id + "/record.json", std::size_t{16} << 20U));
            if (record.id != id) continue;
            const auto known = out.find(id);
            // A container that is stored but no longer in the store has been removed.
            if (known == out.end() && !record.host_config.auto_remove) continue;
            Leftover& each = out[id];
            each.start_asked = is_running(record.state.status);
            each.live = record;
            // Changes that clients were told about since: the store has them.
            if (known != out.end()) continue;
            if (each.start_asked) {
                record.state.status = Status::created;
                record.state.error = "the daemon ended before the program started";
            }
            each.record = std::move(record);
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::not_found) log::warn("container {}: {}", id, error.what());
        }
    }
    return out;
}

void find_monitor_of(Leftover& leftover, const std::string& live) {
    try {
        leftover.monitor = tasks::find_monitor(live);
        if (leftover.monitor)
            leftover.exited = leftover.monitor->exited;
        else
            leftover.exited = tasks::read_exit_file(live);
    } catch (const Error& error) {
        log::warn("{}: {}", live, error.what());
    }
    std::error_code ignored;
    leftover.had_monitor = leftover.monitor || fs::exists(live + "/monitor.sock", ignored);
}

bool is_frozen(const linux::CgroupMounts& mounts, const std::string& path) {
    try {
        return linux::Cgroup::open(mounts, linux::CgroupPath::parse(path)).frozen();
    } catch (const Error& error) {
        log::warn("cgroup {}: {}", path, error.what());
        return false;
    }
}

/// The gruad that paused the container for a commit is gone. True where the container runs on now.
bool end_pause_for_commit(const linux::CgroupMounts& mounts, const std::string& path, const std::string& live) {
    std::error_code ignored;
    const std::string mark = live + pause_mark;
    if (!fs::exists(mark, ignored)) return false;
    try {
        linux::Cgroup::open(mounts, linux::CgroupPath::parse(path)).thaw();
    } catch (const Error& error) {
        log::warn("cgroup {}: {}", path, error.what());
        return false;
    }
    fs::remove(mark, ignored);
    return true;
}

}  // namespace

/// On the loop: the record becomes what was found.
void Engine::Impl::recover_container(const ContainerPtr& container, Recovered found, std::vector<ContainerPtr>& to_start) {
    const State& stored = container->record->state;
    const bool ran = is_running(stored.status) || stored.status == Status::restarting || found.start_asked;
    if (found.monitor) {
        container->pidfd = std::move(found.monitor->pidfd);
        container->found([&](ContainerRecord& next) {
            next.state = State{};
            next.state.status = found.paused ? Status::paused : Status::running;
            next.state.pid = found.monitor->pid;
            next.state.started_at = found.monitor->started_at;
        });
        container->link = std::make_shared<tasks::MonitorLink>(loop, std::move(found.monitor->socket), monitor_events(container));
        container->link->run();
    } else if (found.exited && found.exited->started_at == Time{} && !is_running(stored.status)) {
        container->found([&](ContainerRecord& next) {
            next.state.exit_code = found.exited->code;
            next.state.error = found.exited->error;
        });
    } else if (found.exited && (is_running(stored.status) || stored.finished_at != found.exited->finished_at)) {
        container->found([&](ContainerRecord& next) {
            next.state.status = Status::running;
            if (found.exited->started_at != Time{}) next.state.started_at = found.exited->started_at;
        });
        // The usual way from here: clean up, then --rm or the restart policy.
        on_exited(container, *found.exited);
        return;
    }
    if (container->record->state.status == Status::restarting || container->record->state.status == Status::removing)
        container->found([](ContainerRecord& next) { next.state.status = Status::exited; });
    publish(*container);
    save(*container);
    if (!is_running(container->record->state.status) &&
        starts_with_the_daemon(container->record->host_config.restart_policy, container->record->stopped_by_user, ran,
                               container->record->state.exit_code) &&
        container->record->state.status != Status::created)
        to_start.push_back(container);
}

asio::awaitable<void> Engine::Impl::recover() {
    using All = std::shared_ptr<std::map<std::string, Leftover>>;
    auto look = [this]() -> All {
        const std::string live_root = options.exec_root + "/containers";
        auto all = std::make_shared<std::map<std::string, Leftover>>(read_records(rooms.database, live_root));
        for (auto& [id, each] : *all) find_monitor_of(each, live_root + "/" + id);
        std::vector<network::Attachment> live;
        for (auto it = all->begin(); it != all->end();) {
            const std::string& id = it->first;
            Leftover& each = it->second;
            const bool runs = each.monitor && !each.monitor->exited;
            // Killed in the middle of its removal: the layer goes first, the record last.
            const bool with_volumes = each.record.state.status == Status::removing;
            if (!runs && (with_volumes || !rooms.layers.has_container(id))) {
                rooms.layers.remove(id);
                if (with_volumes || each.record.host_config.auto_remove)
                    for (const auto& name : each.record.anonymous_volumes)
                        if (rooms.volumes.find(name)) rooms.volumes.remove(name, {});
                if (each.stored) rooms.database.execute("DELETE FROM containers WHERE id = ?", {id});
                remove_cgroup(cgroups, cgroup_path(each.record));
                it = all->erase(it);
                continue;
            }
            if (runs) {
                if (each.live) {
                    each.record.networks = each.live->networks;
                    each.record.desired_macs = each.live->desired_macs;
                    each.record.interfaces = each.live->interfaces;
                    each.record.ports = each.live->ports;
                    each.record.sandbox_id = each.live->sandbox_id;
                }
                each.paused = is_frozen(cgroups, cgroup_path(each.record)) &&
                              !end_pause_for_commit(cgroups, cgroup_path(each.record), live_root + "/" + id);
                each.layers = rooms.layers.hold_container(id);
                live.push_back(attachment_of(each.record, options.dns));
                live.back().netns = Fd{::open(fmt::format("/proc/{}/ns/net", each.monitor->pid).c_str(), O_RDONLY | O_CLOEXEC)};
            } else {
                remove_cgroup(cgroups, cgroup_path(each.record));
            }
            ++it;
        }
        rooms.networks.recover(std::move(live));
        // What belongs to no container. Both roots are this gruad's alone.
        std::error_code ignored;
        for (const auto& id : rooms.layers.containers())
            if (!all->contains(id)) rooms.layers.remove(id);
        for (const auto& root : {live_root, options.data_root + "/containers"})
            for (const auto& id : folders(root))
                if (!all->contains(id)) {
                    remove_new_volumes(rooms.volumes, root + "/" + id);
                    remove_cgroup(cgroups, (options.cgroup_parent == "/" ? "" : options.cgroup_parent) + "/" + id);
                    fs::remove_all(root + "/" + id, ignored);
                }
        return all;
    };
    const All all = co_await offload(pool, std::move(look));
    std::vector<ContainerPtr> to_start;
    std::vector<std::string> traces;
    for (auto& [id, each] : *all) {
        Recovered found{.monitor = {}, .exited = std::move(each.exited), .start_asked = each.start_asked, .paused = each.paused};
        if (each.monitor && !each.monitor->exited) found.monitor = std::move(each.monitor);
        if (!found.monitor && !found.exited && (is_running(each.record.state.status) || (each.start_asked && each.had_monitor)))
            found.exited = tasks::ExitReport{.code = exit_unknown,
                                             .finished_at = now(),
                                             .error = "exit status unknown: the host or the container's monitor ended",
                                             .started_at = is_running(each.record.state.status) ? each.record.state.started_at : now()};
        if (each.start_asked && !found.monitor) traces.push_back(id);
        const auto container = std::make_shared<Container>(loop, std::move(each.record));
        container->layers = std::move(each.layers);
        names.insert_or_assign(container->record->name, id);
        add(container);
        recover_container(container, std::move(found), to_start);
        if (container->cleaning && !traces.empty() && traces.back() == id) traces.pop_back();  // after_exit() does it.
    }
    co_await forget_traces(std::move(traces));
    log::info("{} containers found, {} of them to be started", containers.size(), to_start.size());
    for (const auto& container : to_start) {
        auto again = [](std::shared_ptr<Impl> self, ContainerPtr target) -> asio::awaitable<void> {
            const Lane::Turn turn = co_await target->lane.take();
            if (!target->gone && !is_running(target->record->state.status)) co_await self->start_held(target);
        };
        spawn(again(shared_from_this(), container), "start a container by its restart policy");
    }
    collector_ended = false;
    spawn(collect_in_turns(), "collect garbage");
    // A --rm container that was created and never started, or had ended, when gruad was last there: its client is gone.
    for (const auto& [id, container] : std::map(containers)) {
        if (!container->record->host_config.auto_remove || is_running(container->record->state.status) || container->cleaning) continue;
        if (container->record->state.status == Status::created && container->record->state.started_at == Time{} &&
            container->record->state.error.empty())
            continue;
        auto take_away = [](std::shared_ptr<Impl> self, ContainerPtr target) -> asio::awaitable<void> {
            const Lane::Turn turn = co_await target->lane.take();
            if (!target->gone && !is_running(target->record->state.status)) co_await self->remove_held(target, true);
        };
        spawn(take_away(shared_from_this(), container), "remove a container that has ended");
    }
}

/// Of starts that came to nothing, once that is in the store.
asio::awaitable<void> Engine::Impl::forget_traces(std::vector<std::string> ids) {
    if (ids.empty()) co_return;
    co_await saver.flushed();
    std::vector<std::pair<std::string, bool>> folders_of;
    for (const auto& id : ids) folders_of.emplace_back(live_directory(id), containers.at(id)->record->host_config.auto_remove);
    auto forget = [folders_of = std::move(folders_of)] {
        std::error_code ignored;
        for (const auto& [live, keeps_record] : folders_of) {
            if (!keeps_record) fs::remove(live + "/record.json", ignored);
            for (const char* file : {"/exit.json", "/monitor.sock"}) fs::remove(live + file, ignored);
        }
        return true;
    };
    co_await offload(pool, std::move(forget));
}

asio::awaitable<void> Engine::Impl::shutdown() {
    closing = true;
    events.close();
    for (const auto& [id, container] : containers) {
        container->changed.notify_all();
        for (const auto& weak : container->waiters)
            if (const auto waiter = weak.lock()) waiter->resolve({.exit_code = 0, .error = "the daemon is shutting down"});
    }
    collect_now.notify_all();
    while (!collector_ended) co_await collect_now.wait();
    co_await saver.flushed();
    for (const auto& [id, container] : containers)
        if (container->link) container->link->close();
}

}  // namespace grua::engine
