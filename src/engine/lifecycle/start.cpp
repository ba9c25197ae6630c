// The start of a container: the list of its steps is at the end of this file's first part; what follows it is what comes of them.
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "engine/lifecycle/given_mounts.hpp"
#include "engine/lifecycle/lifecycle.hpp"
#include "engine/lifecycle/log_peer.hpp"
#include "engine/lifecycle/run_parts.hpp"
#include "engine/lifecycle/start_mark.hpp"
#include "engine/lifecycle/start_work.hpp"
#include "engine/lifecycle/steps.hpp"
#include "engine/lifecycle/waiter.hpp"
#include "engine/model/health.hpp"
#include "engine/networking/networking.hpp"
#include "engine/spec/log.hpp"
#include "runtime/container.hpp"

#include <algorithm>
#include <array>
#include <filesystem>

namespace grua::engine {
namespace {

constexpr int exit_unknown = 128;

std::optional<std::string> joined_container(const std::string& mode) {
    constexpr std::string_view prefix = "container:";
    return mode.starts_with(prefix) ? std::optional(mode.substr(prefix.size())) : std::nullopt;
}

// --- the steps -------------------------------------------------------------------------------------------------------

/// What an earlier run could not let go of is tried again: on top of it nothing is started.
asio::awaitable<void> let_go_of_the_last(std::shared_ptr<StartWork> work) {
    const ContainerPtr container = work->container;
    if (!container->owned.has_between(first_of_run, last_of_run)) co_return;
    if (!co_await work->life.release(container, first_of_run, last_of_run))
        fail(ErrorKind::unavailable, "what its last run held could not be let go of");
}

/// The record that it will have, and what others of this engine give.
asio::awaitable<void> plan(std::shared_ptr<StartWork> work) {
    Lifecycle& life = work->life;
    ContainerRecord& next = work->next;
    work->cgroup_path = life.cgroup_path(next);
    work->live = life.live_directory(next.id);
    next.apparmor_profile = apparmor_profile_of(next.host_config, life.host);
    work->with_init = next.host_config.init.value_or(life.options.init);
    if (work->with_init && life.options.init_path.empty()) fail(ErrorKind::unavailable, "grua-init is not installed");
    const auto running = [&](const std::string& reference, const char* type) {
        auto other = life.get_container(reference);
        if (!is_running(other->record->state.status) || !other->task)
            fail(ErrorKind::conflict, "cannot join {} namespace of a non running container: container {} is not running", type,
                 other->id());
        return other;
    };
    if (const auto other = joined_container(next.host_config.network_mode)) {
        const ContainerPtr found = running(*other, "network");
        work->spec.network_namespace = found->task->open_namespace("net");
        work->joined.insert("network");
        // One network, one set of names: the files are the other's.
        next.hostname_path = found->record->hostname_path;
        next.hosts_path = found->record->hosts_path;
        next.resolv_conf_path = found->record->resolv_conf_path;
    }
    if (const auto other = joined_container(next.host_config.pid_mode)) {
        work->spec.namespaces["pid"] = running(*other, "pid")->task->open_namespace("pid");
        work->joined.insert("pid");
    }
    if (const auto other = joined_container(next.host_config.ipc_mode)) {
        const ContainerPtr donor = running(*other, "ipc");
        if (const std::string& mode = donor->record->host_config.ipc_mode; mode == "private" || mode == "none")
            fail(ErrorKind::invalid_argument,
                 "failed to join IPC namespace: container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                 donor->id());
        work->spec.namespaces["ipc"] = donor->task->open_namespace("ipc");
        work->joined.insert("ipc");
        work->memory_of = donor->task->pidfd();
    }
    for (const auto& [alias, id] : next.links) {
        const auto other = life.get_container(id)->record;
        if (!is_running(other->state.status))
            fail(ErrorKind::invalid_argument, "Cannot link to a non running container: /{} AS /{}/{}", other->name, next.name, alias);
    }
    work->linked = life.linked_hosts(next);
    work->linked_environment = life.linked_environment(next);
    co_return;
}

/// Of the volumes that have any: first, since what a program finds in them is what is mounted.
asio::awaitable<void> mount_volumes(std::shared_ptr<StartWork> work) {
    VolumeFolders& volumes = work->life.ground.volumes;
    StringList names = volume_names(work->next);
    if (work->called_off || !volumes.has_mounts(names)) co_return;
    work->owned.add(Held::mounts, work->life.mounts_owner(work->next.id));
    work->in_own_words = true;
    co_await volumes.hold_mounts(work->next.id, std::move(names));
    work->in_own_words = false;
}

/// Parts of volumes, as long as their servers take.
asio::awaitable<void> take_parts(std::shared_ptr<StartWork> work) {
    for (const MountPoint& point : work->next.mounts) {
        const MountDetail detail = detail_of(work->next, point.destination);
        if (point.type != "volume" || detail.subpath.empty() || work->called_off) continue;
        work->in_own_words = true;
        Fd part = co_await work->life.ground.volumes.part(work->next.id, point.name, detail.subpath);
        work->in_own_words = false;
        work->spec.mounts.push_back({.destination = point.destination, .mount = std::move(part), .read_only = !point.rw});
    }
}

/// What else comes as a descriptor.
void take_mounts(StartWork& work) {
    const ContainerRecord& next = work.next;
    Roots& roots = work.life.ground.roots;
    for (const MountPoint& point : next.mounts) {
        if (point.type != "image") continue;
        if (!work.owned.has(Held::images))
            work.owned.add(Held::images, {.on_pool = [hold = hold_images(roots, next)]() mutable { hold.reset(); }, .on_loop = {}});
        work.spec.mounts.push_back({.destination = point.destination,
                                    .mount = mount_image(roots, work.life.options, detail_of(next, point.destination)),
                                    .read_only = true});
    }
    const bool has_own =
        std::ranges::count(next.mounts, "/dev/shm", &MountPoint::destination) != 0 || next.host_config.tmpfs.contains("/dev/shm");
    if (work.memory_of && !has_own)
        work.spec.mounts.push_back({.destination = "/dev/shm",
                                    .mount = while_doing("failed to join IPC namespace", [&] { return shared_memory_of(work.memory_of); }),
                                    .read_only = false});
}

/// Looking for a name or for a server may take its time: not on the pool.
asio::awaitable<void> prepare_log(std::shared_ptr<StartWork> work) {
    try {
        work->spec.log = co_await reach_log_peer(log_spec(work->next));
        if (work->spec.log.needs_program()) work->spec.log.program = work->life.options.log_program_path;
    } catch (const Error& error) {
        throw Error(error.kind(), fmt::format("failed to initialize logging driver: {}", error.what()));
    }
}

void check_binds(StartWork& work) {
    for (const MountPoint& point : work.next.mounts) {
        std::error_code error;
        if (point.type != "bind" || std::filesystem::exists(point.source, error)) continue;
        // As at its create.
        if (detail_of(work.next, point.destination).create_source)
            make_directories(point.source, 0755);
        else
            fail(ErrorKind::invalid_argument, "invalid mount config for type \"bind\": bind source path does not exist: {}", point.source);
    }
}

void make_live_folder(StartWork& work) {
    make_directories(work.live, 0700);
    remove_start_traces(work.live, work.next.host_config.auto_remove);
    work.owned.add(Held::traces, work.life.traces_owner(work.next));
}

void attach_network(StartWork& work) {
    ContainerRecord& next = work.next;
    const std::string& mode = next.host_config.network_mode;
    if (has_sandbox(next)) {
        work.in_own_words = true;
        work.owned.add(Held::network, work.life.network_owner(next.id));
        work.sysfs = join_networks(work.life, next, work.spec);
        work.in_own_words = false;
    } else if (const auto shared = next.networks.find(mode); shared != next.networks.end()) {
        shared->second.network_id = work.life.ground.sandboxes.id_of(mode);
        shared->second.endpoint_id = random_id();
        next.sandbox_id = random_id();
    }
}

/// Says "was being started" to whoever finds it: see recover.cpp.
void mark_start(StartWork& work) { write_start_mark(work.live, work.next); }

void write_files(StartWork& work) {
    const ContainerRecord& next = work.next;
    work.hostname = hostname_of(next);
    if (!joined_container(next.host_config.network_mode)) work.life.ground.sandboxes.write_files(next, work.hostname, work.linked);
}

void mount_root(StartWork& work) {
    Roots& roots = work.life.ground.roots;
    work.owned.add(Held::layers, {.on_pool = [hold = roots.hold(work.next.id)]() mutable { hold.reset(); }, .on_loop = {}});
    work.spec.root = roots.mount(work.next.id);
}

void write_spec(StartWork& work) {
    Lifecycle& life = work.life;
    const ContainerRecord& next = work.next;
    SpecInput input = spec_input(life, next, work.cgroup_path, work.hostname);
    if (work.with_init) input.init_path = life.options.init_path;
    input.no_new_privileges = life.options.no_new_privileges;
    input.linked_environment = work.linked_environment;
    // By descriptors, which its monitor gets: the paths stand for them.
    for (const std::string& kind : work.joined) input.joined_namespaces.emplace(kind, "/proc/self/fd/given");
    tasks::TaskSpec& spec = work.spec;
    spec.id = next.id;
    spec.directory = work.live;
    spec.document = build_spec(input);
    spec.open_stdin = next.config.open_stdin;
    spec.stdin_once = next.config.stdin_once;
    work.draft = life.ground.tasks.prepare(std::move(spec));
}

asio::awaitable<void> make_task(std::shared_ptr<StartWork> work) {
    const ContainerPtr& container = work->container;
    if (work->called_off) fail(ErrorKind::unavailable, "the start was called off");
    std::vector<tasks::TaskClient> clients;
    for (const auto& each : std::exchange(container->attaches, {}))
        clients.push_back({.request = std::move(each->request), .socket = Fd(each->client.release())});
    container->task = work->life.ground.tasks.make(std::move(*work->draft), std::move(clients), work->life.task_events(container, work));
    work->owned.add(Held::monitor, work->life.monitor_owner(container));
    work->owned.add(Held::cgroup, work->life.cgroup_owner(work->next));
    co_return;
}

/// on_started() has changed the record when this returns; a program that is quick has ended by then.
asio::awaitable<void> launch(std::shared_ptr<StartWork> work) {
    const tasks::TaskPtr task = work->container->task;
    co_await task->run(work->life.ground.clock.steady() + start_patience);
}

constexpr std::array<Step<StartWork>, 14> start_steps{{
    {.name = "start:last", .on_loop = let_go_of_the_last},
    {.name = "start:plan", .on_loop = plan},
    {.name = "start:log", .on_loop = prepare_log},
    {.name = "start:volumes", .on_loop = mount_volumes},
    {.name = "start:parts", .on_loop = take_parts},
    {.name = "start:binds", .on_pool = check_binds},
    {.name = "start:given", .on_pool = take_mounts},
    {.name = "start:folder", .on_pool = make_live_folder},
    {.name = "start:network", .on_pool = attach_network},
    {.name = "start:mark", .on_pool = mark_start},
    {.name = "start:files", .on_pool = write_files},
    {.name = "start:root", .on_pool = mount_root},
    {.name = "start:spec", .on_pool = write_spec},
    {.name = "start:task", .on_loop = make_task},
}};
constexpr std::array<Step<StartWork>, 1> run_step{{{.name = "start:launch", .on_loop = launch}}};

// --- what comes of them ----------------------------------------------------------------------------------------------

/// What Docker makes of a failed start: the status of the container, and an error whose words its clients turn into 125, 126 or 127.
struct StartFailure {
    int exit_code;
    Error error;
};

StartFailure start_failure(const Error& error, bool in_own_words) {
    // Docker's text for it names no task.
    if (in_own_words) return {exit_unknown, error};
    std::string text = fmt::format("failed to create task for container: {}", error.what());
    // Of what this process could not find only the kernel's word counts; what the monitor says is about the program.
    const bool is_programs = dynamic_cast<const tasks::NotStarted*>(&error) != nullptr;
    const int status = is_programs || error.os_error() != 0 ? runtime::exit_status_for(error) : exit_unknown;
    if (status != 126 && status != 127)
        return {exit_unknown, Error(error.kind() == ErrorKind::not_found ? ErrorKind::system : error.kind(), text, error.os_error())};
    // The words are what Docker's own client looks for.
    if (error.os_error() == EISDIR) text += ": permission denied";
    if (error.os_error() == ENOTDIR)
        text +=
            ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the "
            "expected type";
    return {status, Error(ErrorKind::invalid_argument, text)};
}

void apply(StartReason reason, ContainerRecord& record) {
    switch (reason) {
        case StartReason::asked:
        case StartReason::restart:
            record.stopped_by_user = false;
            record.restart_count = 0;
            return;
        case StartReason::policy:
            ++record.restart_count;
            return;
        case StartReason::recovery:
            record.restart_count = 0;
            return;
    }
}

}  // namespace

asio::awaitable<void> Lifecycle::start(std::string reference) {
    const auto container = get_container(reference);
    const Lane::Turn turn = co_await container->lane.take();
    if (container->is_gone()) fail(ErrorKind::not_found, "No such container: {}", reference);
    switch (container->record->state.status) {
        case Status::running:
            fail(ErrorKind::not_modified, "container is already running");
        case Status::paused:
            fail(ErrorKind::conflict, "cannot start a paused container, try unpause instead");
        case Status::removing:
        case Status::dead:
            fail(ErrorKind::conflict, "container is marked for removal and cannot be started");
        default:
            break;
    }
    container->delay.reset();
    co_await start_held(container, StartReason::asked);
}

asio::awaitable<void> Lifecycle::start_held(ContainerPtr container, StartReason reason) {
    while (container->is_settling()) co_await container->changed.wait();
    const auto work = std::make_shared<StartWork>(shared_from_this(), container, *container->record);
    work->reason = reason;
    apply(reason, work->next);
    container->starting = work;
    ++container->round;
    set_phase(*container, Phase::starting);
    std::exception_ptr thrown;
    try {
        co_await run_steps<StartWork>(pool, start_steps, work);
        co_await run_steps<StartWork>(pool, run_step, work);
    } catch (...) {
        thrown = std::current_exception();
    }
    if (!thrown) {
        co_await has_started(container->id());
        co_return;
    }
    co_await start_failed(container, work, thrown);
}

asio::awaitable<void> Lifecycle::start_failed(ContainerPtr container, std::shared_ptr<StartWork> work, std::exception_ptr thrown) {
    const StartFailure failure = [&] {
        try {
            std::rethrow_exception(thrown);
        } catch (const Error& error) {
            StartFailure out = start_failure(error, work->in_own_words);
            // As where its removal began before its start.
            if (work->called_off) out.error = Error(ErrorKind::conflict, out.error.what());
            return out;
        } catch (const std::exception& error) {
            return start_failure(Error(ErrorKind::system, error.what()), false);
        }
    }();
    log::info("container {}: its start failed at {}: {}", short_id(container->id()), work->at, failure.error.what());
    container->attaches.clear();  // Their clients see the end of the stream.
    for (const auto& weak : container->waiters)
        if (const auto waiter = weak.lock()) waiter->tells_error = false;
    container->update([&](ContainerRecord& next) {
        apply(work->reason, next);
        next.state.error = failure.error.what();
        next.state.exit_code = failure.exit_code;
        next.state.pid = 0;
        clear_networking(next);
        if (next.state.status == Status::restarting) {
            next.state.status = Status::exited;
            next.state.finished_at = ground.clock.wall();
        }
    });
    save(*container);
    container->owned.take(std::move(work->owned));
    co_await release(container, first_of_run, last_of_run);
    set_phase(*container, Phase::idle);
    publish(*container);
    if (container->record->host_config.auto_remove) {
        try {
            co_await remove_held(container, true);
        } catch (const std::exception& error) {
            log::error("container {}: {}", short_id(container->id()), error.what());
        }
    }
    throw StartFailed(failure.error, failure.exit_code);
}

tasks::TaskEvents Lifecycle::task_events(const ContainerPtr& container, std::shared_ptr<StartWork> work) {
    const std::weak_ptr<Lifecycle> engine = weak_from_this();
    const std::weak_ptr<Container> weak = container;
    const auto with = [engine, weak](auto action) {
        return [engine, weak, action](auto&&... arguments) {
            const auto self = engine.lock();
            const auto target = weak.lock();
            if (self && target) action(*self, target, std::forward<decltype(arguments)>(arguments)...);
        };
    };
    tasks::TaskEvents out;
    out.started = with([started = std::weak_ptr(work)](Lifecycle& self, const ContainerPtr& target, pid_t pid, Time started_at) {
        if (const auto its = started.lock()) self.on_started(target, *its, pid, started_at);
    });
    out.exited = with([](Lifecycle& self, const ContainerPtr& target, const tasks::ExitReport& report) { self.on_exited(target, report); });
    out.exec_exited =
        with([](Lifecycle& self, const ContainerPtr& target, const std::string& id, int code) { self.on_exec_exited(target, id, code); });
    out.detached = with([](Lifecycle& self, const ContainerPtr& target, const std::string& exec_id) {
        if (exec_id.empty()) {
            self.emit(*target->record, "detach");
        } else {
            self.emit(*target->record, "exec_detach", {{"execID", exec_id}});
        }
    });
    out.log_news = with([](Lifecycle&, const ContainerPtr& target, const std::string& text) {
        log::warn("container {} ({}): {}", short_id(target->id()), target->record->name, text);
    });
    out.closed = with([](Lifecycle& self, const ContainerPtr& target, const std::string&) { self.on_link_closed(target); });
    return out;
}

void Lifecycle::on_started(const ContainerPtr& container, StartWork& work, pid_t pid, Time started_at) {
    work.next.state = State{};
    work.next.state.status = Status::running;
    work.next.state.pid = pid;
    work.next.state.started_at = started_at;
    if (is_checked(work.next.config)) work.next.state.health.status = HealthStatus::starting;
    container->become(std::move(work.next));
    container->owned.take(std::move(work.owned));
    container->phase = Phase::running;
    publish(*container);
    save(*container);
    emit_joined(*container->record, true);
    emit(*container->record, "start");
    begin_health(container);
}

}  // namespace grua::engine
