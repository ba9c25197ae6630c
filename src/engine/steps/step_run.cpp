#include "engine/steps/step_run.hpp"

#include "base/files.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "base/loop_watch.hpp"
#include "base/text.hpp"
#include "engine/lifecycle/run_parts.hpp"
#include "engine/lifecycle/step_mark.hpp"
#include "engine/lifecycle/steps.hpp"
#include "engine/model/create_request.hpp"
#include "engine/networking/networking.hpp"
#include "engine/steps/mount_points.hpp"
#include "linux/private_mounts.hpp"
#include "runtime/container.hpp"

#include <fcntl.h>
#include <algorithm>
#include <array>
#include <boost/system/system_error.hpp>
#include <csignal>
#include <filesystem>
#include <optional>
#include <utility>

namespace grua::engine {

using namespace std::chrono_literals;

namespace {

/// SIGKILL is not refused; a process in uninterruptible sleep may keep it waiting.
constexpr auto kill_timeout = 10s;
/// For what a program has said to come here once it has ended.
constexpr auto drain_timeout = 10s;
/// At gruad's end. What takes longer is ended by the next one.
constexpr auto last_patience = 5s;
constexpr std::chrono::seconds first_retry = 5s;
constexpr std::chrono::seconds longest_retry = 300s;

}  // namespace

struct StepWork : AtStep, std::enable_shared_from_this<StepWork> {
    StepWork(std::shared_ptr<Lifecycle> engine, StepRequest asked)
        : keeps(std::move(engine)),
          life(*keeps),
          id(random_id()),
          name(life.loop, fmt::format("step {}", short_id(id))),
          request(std::move(asked)),
          live(life.step_directory(id)),
          changed(life.loop) {}

    bool has_ended() const { return exited || is_closed; }

    /// Whoever waits for it hears `why`. Not from within its own steps.
    void call_off(std::exception_ptr why) {
        if (called_off) return;
        called_off = std::move(why);
        // What is being started is waited for, so that there is something to kill, but not for ever.
        end_of_patience = life.ground.timers.at(life.ground.clock.steady() + kill_timeout, [this] {
            if (task) task->call_off("the start of a step was called off");
        });
        changed.notify_all();
    }
    void go_on() const {
        if (called_off) std::rethrow_exception(called_off);
    }

    std::shared_ptr<Lifecycle> keeps;
    Lifecycle& life;
    const std::string id;
    const TurnName name;
    StepRequest request;
    const std::string live;
    Condition changed;

    /// Nobody sees it: what a container with Docker's defaults would have, so that limits and protection are a container's.
    ContainerRecord record;
    Owned owned;
    std::string cgroup_path;
    tasks::TaskSpec spec;
    std::optional<MountPoints> points;
    Fd sysfs;
    std::optional<tasks::Draft> draft;
    tasks::TaskPtr task;

    bool has_streams = false;
    bool has_started = false;
    std::optional<tasks::ExitReport> exited;
    bool is_closed = false;  ///< Its monitor has ended, and did not say how the program did.
    bool all_said = true;    ///< Of its output.
    linux::CgroupStats used;
    std::exception_ptr called_off;
    std::unique_ptr<Alarm> end_of_patience;
};

namespace {

using Work = std::shared_ptr<StepWork>;

// --- what is asked for -----------------------------------------------------------------------------------------------

std::string clean_destination(const std::string& destination) {
    std::string out = std::filesystem::path(destination).lexically_normal().string();
    while (out.size() > 1 && out.ends_with('/')) out.pop_back();
    if (!out.starts_with('/') || out == "/")
        fail(ErrorKind::invalid_argument, "invalid mount target {:?}: it needs to be an absolute path, and not the root", destination);
    return out;
}

std::string network_mode(StepNetwork network, const Options& options) {
    switch (network) {
        case StepNetwork::host:
            return "host";
        case StepNetwork::bridge:
            if (options.default_bridge) return "bridge";
            break;
        case StepNetwork::none:
            break;
    }
    return "none";
}

void plan_mounts(StepWork& work) {
    ContainerRecord& record = work.record;
    for (StepMount& each : work.request.mounts) {
        const std::string destination = clean_destination(each.destination);
        std::erase_if(record.mounts, [&](const MountPoint& one) { return one.destination == destination; });
        std::erase_if(work.spec.mounts, [&](const tasks::TaskMount& one) { return one.destination == destination; });
        record.mount_details.erase(destination);
        record.mounts.push_back({.type = each.mount ? "given" : "tmpfs", .destination = destination, .rw = !each.read_only});
        if (each.mount) {
            work.spec.mounts.push_back({.destination = destination, .mount = std::move(each.mount), .read_only = each.read_only});
        } else {
            // A build runs what it has compiled there, and makes devices for what it will be a root of.
            record.mount_details[destination].tmpfs =
                TmpfsOptions{.size_bytes = each.tmpfs_size, .mode = 0, .options = {StringList{"exec"}, StringList{"dev"}}};
        }
    }
    work.request.mounts.clear();
}

/// What can be refused before anything is made.
asio::awaitable<void> plan(Work work) {
    Lifecycle& life = work->life;
    StepRequest& request = work->request;
    ContainerRecord& record = work->record;
    if (request.args.empty() || request.args.front().empty()) fail(ErrorKind::invalid_argument, "no command specified");
    record.id = work->id;
    record.path = request.args.front();
    record.args.assign(request.args.begin() + 1, request.args.end());
    record.config.user = request.user;
    record.config.working_dir = request.cwd;
    record.config.hostname = request.hostname;
    // Who asks says all of it.
    record.config.env = {"HOSTNAME"};
    record.config.env.insert(record.config.env.end(), request.env.begin(), request.env.end());
    HostConfig& host_config = record.host_config;
    static_cast<Resources&>(host_config) = request.limits;
    host_config.shm_size = request.shm_size == 0 ? life.options.default_shm_size : request.shm_size;
    host_config.network_mode = network_mode(request.network, life.options);
    host_config.extra_hosts = request.extra_hosts;
    host_config.privileged = request.insecure;
    host_config.readonly_rootfs = request.read_only_root;
    host_config.cgroupns_mode = life.options.cgroupns_mode;
    plan_mounts(*work);
    for (const std::string& each : check_request(record.config, host_config, life.host)) log::warn("step {}: {}", short_id(work->id), each);
    if (record.config.hostname.empty() && host_config.network_mode != "host") record.config.hostname = short_id(work->id);
    record.apparmor_profile = apparmor_profile_of(host_config, life.host);
    if (has_sandbox(record)) record.networks["bridge"];
    record.hosts_path = work->live + "/hosts";
    record.resolv_conf_path = work->live + "/resolv.conf";
    work->cgroup_path = life.cgroup_path(record);
    co_return;
}

// --- the steps -------------------------------------------------------------------------------------------------------

void make_live_folder(StepWork& work) {
    work.owned.add(Held::live, {.on_pool = [live = work.live] { remove_tree(live); }, .on_loop = {}});
    make_directories(work.live, 0700);
}

void mark(StepWork& work) { write_step_mark(work.live, work.cgroup_path); }

void attach_network(StepWork& work) {
    if (!has_sandbox(work.record)) return;
    work.owned.add(Held::network, work.life.network_owner(work.id));
    work.sysfs = join_networks(work.life, work.record, work.spec);
}

void write_files(StepWork& work) { work.life.ground.sandboxes.write_files(work.record, hostname_of(work.record), {}); }

/// As BuildKit has them: nobody writes to what is no part of the tree.
void protect(oci::RuntimeSpec& document, const ContainerRecord& record) {
    for (oci::Mount& each : document.mounts)
        if (each.source == record.hosts_path || each.source == record.resolv_conf_path)
            each.options = {"rbind", "rprivate", "ro", "nosuid", "noexec", "nodev"};
}

void write_spec(StepWork& work) {
    tasks::TaskSpec& spec = work.spec;
    spec.id = work.id;
    spec.directory = work.live;
    spec.document = build_spec(spec_input(work.life, work.record, work.cgroup_path, hostname_of(work.record)));
    protect(spec.document, work.record);
}

void make_points(StepWork& work) {
    Fd& root = work.request.root;
    // A root that the program may not write to is another mount of the same files: this one is written to afterwards still.
    if (work.request.read_only_root) {
        work.spec.root = linux::copy_part(root, work.life.options.exec_root + "/view", "/");
    } else {
        work.spec.root = Fd(::fcntl(root.get(), F_DUPFD_CLOEXEC, 0));
        if (!work.spec.root) fail_errno("duplicate a step's root");
    }
    work.points.emplace(std::move(root));
    auto remove = [&work] {
        work.points->remove();
        work.points.reset();
    };
    work.owned.add(Held::points, {.on_pool = std::move(remove), .on_loop = {}});
    work.points->make(work.spec.document, work.spec.mounts);
}

tasks::TaskEvents task_events(const Work& work) {
    const auto with = [weak = std::weak_ptr(work)](auto action) {
        return [weak, action](auto&&... arguments) {
            const Work target = weak.lock();
            if (!target) return;
            action(*target, std::forward<decltype(arguments)>(arguments)...);
            target->changed.notify_all();
        };
    };
    tasks::TaskEvents out;
    out.started = with([](StepWork& self, pid_t, Time) { self.has_started = true; });
    out.exited = with([](StepWork& self, const tasks::ExitReport& report) { self.exited = report; });
    out.output_ended = with([](StepWork& self) { self.all_said = true; });
    out.closed = with([](StepWork& self, const std::string&) { self.is_closed = true; });
    return out;
}

/// Where it runs still. Each process is in its PID namespace, which ends with the first; what should be left is ended with its cgroup, and
/// so is what nobody tells the end of any more.
asio::awaitable<void> end_processes(Work work) {
    Lifecycle& life = work->life;
    if (!work->task || !work->has_started || work->has_ended()) co_return;
    work->task->kill(SIGKILL);
    const auto deadline = life.ground.clock.steady() + kill_timeout;
    while (!work->has_ended()) {
        if (life.ground.clock.steady() >= deadline) fail(ErrorKind::system, "its processes were killed and have not ended");
        co_await wait_until(work->changed, life.ground.timers, deadline);
    }
}

asio::awaitable<void> close_task(Work work) {
    if (const tasks::TaskPtr task = std::exchange(work->task, nullptr)) task->close();
    co_return;
}

void prepare(StepWork& work) {
    if (work.request.output) {
        work.all_said = false;
        work.spec.output = [weak = work.weak_from_this()](bool is_stderr, std::string_view bytes) {
            const Work target = weak.lock();
            if (target && (is_stderr || !target->has_streams)) target->request.output(is_stderr ? 2 : 1, bytes);
        };
    }
    work.has_streams = bool(work.request.streams);
    work.spec.open_stdin = work.spec.stdin_once = work.has_streams;
    work.draft = work.life.ground.tasks.prepare(std::move(work.spec));
}

asio::awaitable<void> make_task(Work work) {
    work->go_on();
    // It is let go of while the step is there still: no owner keeps it in a circle.
    const auto still = [weak = std::weak_ptr(work)](auto action) {
        return [weak, action]() -> asio::awaitable<void> {
            if (const Work target = weak.lock()) co_await action(target);
        };
    };
    std::vector<tasks::TaskClient> clients;
    if (work->has_streams)
        clients.push_back({.request = {.exec_id = {},
                                       .options = {.use_stdin = true, .use_stdout = true, .stream = true},
                                       .multiplexed = false,
                                       .early_input = {}},
                           .socket = std::move(work->request.streams)});
    work->task = work->life.ground.tasks.make(std::move(*work->draft), std::move(clients), task_events(work));
    work->draft.reset();
    work->owned.add(Held::processes, {.on_pool = {}, .on_loop = still(end_processes)});
    work->owned.add(Held::monitor, {.on_pool = {}, .on_loop = still(close_task)});
    work->owned.add(Held::cgroup, work->life.cgroup_owner(work->record));
    co_return;
}

asio::awaitable<void> launch(Work work) {
    const tasks::TaskPtr task = work->task;
    try {
        co_await task->run(work->life.ground.clock.steady() + start_patience);
    } catch (const tasks::NotStarted& error) {
        throw StepNotStarted(error, runtime::exit_status_for(error));
    }
    work->sysfs = {};
}

asio::awaitable<void> wait_for_exit(Work work) {
    while (!work->has_ended()) {
        work->go_on();
        co_await work->changed.wait();
    }
    if (work->exited) co_return;
    // Its monitor was killed. What it could write down counts.
    work->exited = co_await offload(work->life.pool, [work] { return tasks::read_exit_file(work->live); });
    if (!work->exited) fail(ErrorKind::system, "exit status unknown: the step's monitor was killed");
}

/// It comes by a socket of its own.
asio::awaitable<void> wait_for_output(Work work) {
    const Lifecycle& life = work->life;
    const auto deadline = life.ground.clock.steady() + drain_timeout;
    while (!work->all_said) {
        work->go_on();
        if (life.ground.clock.steady() >= deadline) fail(ErrorKind::system, "the step has ended, and its output has no end");
        co_await wait_until(work->changed, life.ground.timers, deadline);
    }
}

/// While there is a cgroup still. Of a step that has ended without it nothing is known to have been used.
asio::awaitable<void> add_up(Work work) {
    try {
        work->used = co_await work->task->stats();
    } catch (const Error& error) {
        log::warn("step {}: what it has used is not known: {}", short_id(work->id), error.what());
    }
}

constexpr std::array<Step<StepWork>, 13> step_steps{{
    {.name = "step:plan", .on_loop = plan},
    {.name = "step:folder", .on_pool = make_live_folder},
    {.name = "step:mark", .on_pool = mark},
    {.name = "step:network", .on_pool = attach_network},
    {.name = "step:files", .on_pool = write_files},
    {.name = "step:spec", .on_pool = write_spec},
    {.name = "step:points", .on_pool = make_points},
    {.name = "step:draft", .on_pool = prepare},
    {.name = "step:task", .on_loop = make_task},
    {.name = "step:launch", .on_loop = launch},
    {.name = "step:exit", .on_loop = wait_for_exit},
    {.name = "step:output", .on_loop = wait_for_output},
    {.name = "step:used", .on_loop = add_up},
}};

// --- what comes of them ----------------------------------------------------------------------------------------------

StepEnd end_of(const StepWork& work) {
    StepEnd out{.exit_code = work.exited->code,
                .was_out_of_memory = work.exited->oom_killed,
                .cpu_time = std::chrono::nanoseconds(work.used.cpu.usage_ns),
                .peak_memory = work.used.memory.max_usage};
    for (const linux::IoEntry& each : work.used.io.service_bytes) {
        const std::string op = to_lower(each.op);
        if (op == "read") out.read_bytes += each.value;
        if (op == "write") out.written_bytes += each.value;
    }
    return out;
}

}  // namespace

StepRuns::StepRuns(Lifecycle& life) : life_(life), changed_(life.loop) {}

asio::awaitable<StepEnd> StepRuns::run(StepRequest request) {
    if (closing_) fail(ErrorKind::unavailable, "the daemon is shutting down");
    const auto work = std::make_shared<StepWork>(life_.shared_from_this(), std::move(request));
    auto call_off = [weak = std::weak_ptr(work)] {
        const auto aborted = std::make_exception_ptr(boost::system::system_error(asio::error::operation_aborted));
        if (const Work target = weak.lock()) target->call_off(aborted);
    };
    co_return co_await to_its_end(work->name.executor(), live(work), std::move(call_off));
}

asio::awaitable<StepEnd> StepRuns::live(std::shared_ptr<StepWork> work) {
    struct Counted {
        explicit Counted(StepRuns& all, StepWork* one) : runs(all), at(all.running_.insert(all.running_.end(), one)) {}
        Counted(const Counted&) = delete;
        Counted& operator=(const Counted&) = delete;
        ~Counted() {
            runs.running_.erase(at);
            runs.changed_.notify_all();
        }
        StepRuns& runs;
        std::list<StepWork*>::iterator at;
    };
    const Counted counted(*this, work.get());
    std::exception_ptr thrown;
    try {
        co_await run_steps<StepWork>(life_.pool, step_steps, work);
    } catch (...) {
        thrown = std::current_exception();
        if (!work->called_off) log::info("step {}: it failed at {}", short_id(work->id), work->at);
    }
    if (!co_await let_go(work) && !closing_) life_.spawn(try_again(work), "let go of what a step of a build held");
    work->end_of_patience.reset();
    if (work->called_off) std::rethrow_exception(work->called_off);
    if (thrown) std::rethrow_exception(thrown);
    co_return end_of(*work);
}

/// The folder last, and only when all else is gone: by it the next gruad finds the rest.
asio::awaitable<bool> StepRuns::let_go(std::shared_ptr<StepWork> work) {
    auto failures = co_await work->owned.release(life_.pool, first_of_run, last_of_run);
    if (failures.empty()) failures = co_await work->owned.release(life_.pool, Held::live, Held::live);
    for (const ReleaseFailure& each : failures)
        log::error("step {}: its {} could not be let go of: {}", short_id(work->id), to_string(each.what), each.error.what());
    co_return failures.empty();
}

asio::awaitable<void> StepRuns::try_again(std::shared_ptr<StepWork> work) {
    for (auto pause = first_retry; !closing_; pause = std::min(pause * 2, longest_retry)) {
        const auto deadline = life_.ground.clock.steady() + pause;
        while (!closing_ && life_.ground.clock.steady() < deadline) co_await wait_until(changed_, life_.ground.timers, deadline);
        if (closing_ || co_await let_go(work)) co_return;
    }
}

asio::awaitable<std::size_t> StepRuns::shutdown() {
    closing_ = true;
    changed_.notify_all();
    for (StepWork* each : running_) each->call_off(std::make_exception_ptr(Error(ErrorKind::unavailable, "the daemon is shutting down")));
    const auto deadline = life_.ground.clock.steady() + last_patience;
    while (!running_.empty() && life_.ground.clock.steady() < deadline) co_await wait_until(changed_, life_.ground.timers, deadline);
    if (!running_.empty()) log::warn("{} steps of builds have not ended; the next gruad ends them", running_.size());
    co_return running_.size();
}

}  // namespace grua::engine
