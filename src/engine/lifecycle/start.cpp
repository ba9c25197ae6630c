// The start of a container: what it needs is made ready on the pool, then one message to the launcher, then the monitor's word.
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "engine/engine_impl.hpp"
#include "engine/networking/networking.hpp"
#include "engine/spec/devices.hpp"
#include "layers/layers.hpp"
#include "monitor/log_options.hpp"
#include "network/container_files.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <algorithm>
#include <array>
#include <filesystem>

namespace grua::engine {
namespace {

constexpr int exit_not_found = 127;
constexpr int exit_not_executable = 126;
constexpr int exit_unknown = 128;

/// What Docker makes of a failed start: the status of the container, and an error that its clients turn into 125, 126 or 127.
struct StartFailure {
    int exit_code;
    Error error;
};

/// Docker's text for it names no task.
struct NetworkFailure : Error {
    explicit NetworkFailure(const Error& error) : Error(error) {}
};

StartFailure start_failure(const Error& error) {
    const std::string text = fmt::format("failed to create task for container: {}", error.what());
    const std::string lower = to_lower(text);
    if (lower.contains("permission denied")) return {exit_not_executable, Error(ErrorKind::invalid_argument, text)};
    if (lower.contains("is a directory")) return {exit_not_executable, Error(ErrorKind::invalid_argument, text + ": permission denied")};
    if (lower.contains("not a directory"))
        return {exit_not_found,
                Error(ErrorKind::invalid_argument,
                      text + ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host "
                             "path exists and is the expected type")};
    if (lower.contains("executable file not found") || lower.contains("no such file or directory"))
        return {exit_not_found, Error(ErrorKind::invalid_argument, text)};
    return {exit_unknown, Error(error.kind() == ErrorKind::not_found ? ErrorKind::system : error.kind(), text, error.os_error())};
}

Fd memory_file(const std::string& text) {
    Fd file{::memfd_create("config.json", MFD_CLOEXEC)};
    if (!file) fail_errno("make a memory file");
    write_all(file.get(), text, "config.json");
    if (::lseek(file.get(), 0, SEEK_SET) != 0) fail_errno("rewind config.json");
    return file;
}

/// Everything of the loop that the pool needs, by value.
struct Plan {
    RecordPtr record;
    std::string cgroup_path;
    std::string live_directory;
    std::map<std::string, std::string> joined;
    bool with_init = false;
    LinkedHosts linked;
};

struct Ready {
    Fd spec;
    layers::LayerStore::Hold layers;
    Fd rootfs;
    Fd netns;
    Fd sysfs;  ///< Of that network namespace, until the container has its own.
    Fd ours;
    Fd theirs;
    RecordPtr networking;  ///< The record with what its networks gave it; null where it joins another container's.
};

std::string host_name() {
    std::array<char, 256> name{};
    return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "localhost";
}

/// On the pool.
Ready prepare(const Options& options, const Rooms& rooms, const HostFacts& host, const Plan& plan) {
    const ContainerRecord& record = *plan.record;
    for (const MountPoint& point : record.mounts) {
        std::error_code error;
        if (point.type == "bind" && !std::filesystem::exists(point.source, error))
            fail(ErrorKind::invalid_argument, "invalid mount config for type \"bind\": bind source path does not exist: {}", point.source);
    }
    make_directories(plan.live_directory, 0700);
    // Says "was being started" to whoever finds it: see recover.cpp.
    ContainerRecord marked = record;
    marked.state.status = Status::running;
    marked.state.pid = 0;
    std::error_code ignored;
    std::filesystem::remove(plan.live_directory + "/exit.json", ignored);
    std::filesystem::remove(plan.live_directory + "/monitor.sock", ignored);

    Ready out;
    const std::string& mode = record.host_config.network_mode;
    if (has_sandbox(record)) {
        network::Sandbox sandbox = [&, request = sandbox_request(record, options.dns)] {
            try {
                return rooms.networks.attach(request);
            } catch (const Error& error) {
                throw NetworkFailure(error);
            }
        }();
        out.netns = std::move(sandbox.netns);
        out.sysfs = std::move(sandbox.sysfs);
        for (const network::Endpoint& each : sandbox.endpoints) set_endpoint(marked, each);
        marked.ports = ports_of(sandbox.ports);
        marked.sandbox_id = random_id();
        out.networking = std::make_shared<const ContainerRecord>(marked);
    } else if (const auto shared = marked.networks.find(mode); shared != marked.networks.end()) {
        shared->second.network_id = rooms.networks.find_config(mode).id;
        shared->second.endpoint_id = random_id();
        marked.sandbox_id = random_id();
        out.networking = std::make_shared<const ContainerRecord>(marked);
    }
    replace_file(plan.live_directory + "/record.json", to_json(marked), 0600);
    crash_point("engine-marked");

    const bool host_names = record.host_config.uts_mode == "host" || (mode == "host" && record.config.hostname.empty());
    const std::string hostname = host_names ? host_name() : record.config.hostname;
    if (!mode.starts_with("container:")) write_network_files(options, rooms.networks, marked, hostname, plan.linked);
    out.layers = rooms.layers.hold_container(record.id);
    out.rootfs = rooms.layers.mount(record.id, layers::Access::read_write);

    const SpecInput input{.record = record,
                          .host = host,
                          .cgroup_path = plan.cgroup_path,
                          .init_path = plan.with_init ? options.init_path : std::string(),
                          .hostname = hostname,
                          .joined_namespaces = plan.joined,
                          .devices = granted_devices(record.host_config),
                          .block_devices = block_device_numbers(record.host_config),
                          .no_new_privileges = options.no_new_privileges};
    out.spec = memory_file(oci::to_json(build_spec(input)));

    std::array<int, 2> pair{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0) fail_errno("make a socket pair");
    out.ours = Fd(pair[0]);
    out.theirs = Fd(pair[1]);
    return out;
}

monitor::LogLimits log_limits(const ContainerRecord& record, const Options& options) {
    const auto defaults = monitor::parse_log_options({{"max-size", options.log_max_size}, {"max-file", options.log_max_file}}, {});
    if (record.log_path.empty()) return defaults;
    return monitor::parse_log_options(record.host_config.log_config.config, defaults);
}

}  // namespace

asio::awaitable<void> Engine::Impl::start(std::string reference) {
    const auto container = get_container(reference);
    const Lane::Turn turn = co_await container->lane.take();
    if (container->gone) fail(ErrorKind::not_found, "No such container: {}", reference);
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
    container->update([](ContainerRecord& next) {
        next.stopped_by_user = false;
        next.restart_count = 0;
    });
    container->delay.reset();
    co_await start_held(container);
}

tasks::MonitorEvents Engine::Impl::monitor_events(const ContainerPtr& container) {
    const std::weak_ptr<Impl> engine = weak_from_this();
    const std::weak_ptr<Container> weak = container;
    const auto with = [engine, weak](auto action) {
        return [engine, weak, action](auto&&... arguments) {
            const auto self = engine.lock();
            const auto target = weak.lock();
            if (self && target) action(*self, target, std::forward<decltype(arguments)>(arguments)...);
        };
    };
    tasks::MonitorEvents out;
    out.started = with([](Impl& self, const ContainerPtr& target, pid_t pid, Time started_at, Fd pidfd) {
        self.on_started(target, pid, started_at, std::move(pidfd));
    });
    out.failed = with([](Impl&, const ContainerPtr& target, const Error& error) {
        target->start_error = error;
        target->changed.notify_all();
    });
    out.exited = with([](Impl& self, const ContainerPtr& target, const tasks::ExitReport& report) { self.on_exited(target, report); });
    out.exec_exited =
        with([](Impl& self, const ContainerPtr& target, const std::string& id, int code) { self.on_exec_exited(target, id, code); });
    out.closed = with([](Impl& self, const ContainerPtr& target) { self.on_link_closed(target); });
    return out;
}

asio::awaitable<void> Engine::Impl::start_held(ContainerPtr container) {
    while (container->cleaning) co_await container->changed.wait();
    Plan plan{.record = container->record,
              .cgroup_path = cgroup_path(*container->record),
              .live_directory = live_directory(container->id()),
              .joined = {},
              .with_init = container->record->host_config.init.value_or(options.init),
              .linked = {}};
    std::optional<StartFailure> failure;
    std::shared_ptr<tasks::MonitorLink> link;
    try {
        if (plan.with_init && options.init_path.empty()) fail(ErrorKind::unavailable, "grua-init is not installed");
        const auto join_namespace = [&](const std::string& mode, const char* type, const char* file) {
            if (!mode.starts_with("container:")) return;
            const auto other = get_container(std::string_view(mode).substr(10));
            if (!is_running(other->record->state.status))
                fail(ErrorKind::conflict, "cannot join {} namespace of a non running container: container {} is not running", type,
                     other->id());
            plan.joined.emplace(type, fmt::format("/proc/{}/ns/{}", other->record->state.pid, file));
        };
        join_namespace(container->record->host_config.network_mode, "network", "net");
        join_namespace(container->record->host_config.pid_mode, "pid", "pid");
        for (const auto& [alias, id] : container->record->links) {
            const auto other = get_container(id)->record;
            if (!is_running(other->state.status))
                fail(ErrorKind::invalid_argument, "Cannot link to a non running container: /{} AS /{}/{}", other->name,
                     container->record->name, alias);
        }
        plan.linked = linked_hosts(*container->record);
        if (const std::string mode = container->record->host_config.network_mode; mode.starts_with("container:")) {
            // One network, one set of names: the files are the other's.
            const RecordPtr other = get_container(std::string_view(mode).substr(10))->record;
            container->update([&](ContainerRecord& next) {
                next.hostname_path = other->hostname_path;
                next.hosts_path = other->hosts_path;
                next.resolv_conf_path = other->resolv_conf_path;
            });
            plan.record = container->record;
        }
        auto work = [this, plan] { return prepare(options, rooms, host, plan); };
        Ready ready = co_await offload(pool, std::move(work));
        if (ready.networking) {
            container->update([&](ContainerRecord& next) {
                next.networks = ready.networking->networks;
                next.interfaces = ready.networking->interfaces;
                next.ports = ready.networking->ports;
                next.sandbox_id = ready.networking->sandbox_id;
            });
        }
        container->layers = std::move(ready.layers);
        container->start_error.reset();
        link = std::make_shared<tasks::MonitorLink>(loop, std::move(ready.ours), monitor_events(container));
        container->link = link;
        // In the monitor's queue before it exists, so no byte of output can precede them.
        for (const auto& each : std::exchange(container->attaches, {}))
            link->post_attach(std::move(each->request), Fd(each->client.release()));
        link->run();

        tasks::LaunchOrder order;
        order.id = container->id();
        order.directory = plan.live_directory;
        order.log_path = plan.record->log_path;
        const monitor::LogLimits limits = log_limits(*plan.record, options);
        order.log_max_size = limits.max_size;
        order.log_max_files = limits.max_files;
        order.open_stdin = plan.record->config.open_stdin;
        order.stdin_once = plan.record->config.stdin_once;
        order.seccomp_cache = options.exec_root + "/seccomp";
        order.control = std::move(ready.theirs);
        order.spec = std::move(ready.spec);
        order.rootfs = std::move(ready.rootfs);
        order.network_namespace = std::move(ready.netns);
        auto send = [this, order = std::make_shared<tasks::LaunchOrder>(std::move(order))] {
            launcher.launch(std::move(*order));
            return true;
        };
        co_await offload(pool, std::move(send));
        // on_started() has changed the record; a program that is quick has ended by now.
        while (container->link == link && container->record->state.pid == 0 && !container->start_error &&
               container->record->state.started_at == plan.record->state.started_at)
            co_await container->changed.wait();
        if (container->start_error) throw Error(*container->start_error);
        if (container->record->state.started_at == plan.record->state.started_at)
            fail(ErrorKind::unavailable, "the monitor ended before the program started");
    } catch (const NetworkFailure& error) {
        failure = {exit_unknown, error};
    } catch (const Error& error) {
        failure = start_failure(error);
    } catch (const std::exception& error) {
        failure = start_failure(Error(ErrorKind::system, error.what()));
    }
    if (!failure) {
        co_await tell_linked(container->id());
        co_return;
    }

    if (link) link->close();
    if (container->link == link) container->link.reset();
    container->layers.reset();
    const StartFailure& mapped = *failure;
    container->attaches.clear();  // Their clients see the end of the stream.
    container->update([&](ContainerRecord& next) {
        next.state.error = mapped.error.what();
        next.state.exit_code = mapped.exit_code;
        next.state.pid = 0;
        clear_networking(next);
        if (next.state.status == Status::restarting) {
            next.state.status = Status::exited;
            next.state.finished_at = now();
        }
    });
    publish(*container);
    save(*container);
    auto undo = [this, id = container->id(), live = plan.live_directory, path = plan.cgroup_path,
                 auto_remove = plan.record->host_config.auto_remove] {
        rooms.networks.release(id);
        try {
            linux::Cgroup::open(cgroups, linux::CgroupPath::parse(path)).remove();
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::not_found) log::warn("container {}: {}", id, error.what());
        }
        std::error_code ignored;
        if (!auto_remove) std::filesystem::remove(live + "/record.json", ignored);
        for (const char* file : {"/monitor.sock", "/exit.json"}) std::filesystem::remove(live + file, ignored);
        return true;
    };
    co_await offload(pool, std::move(undo));
    emit(*container->record, "die", {{"exitCode", std::to_string(mapped.exit_code)}});
    if (container->record->host_config.auto_remove) co_await remove_held(container, true);
    throw Error(mapped.error);
}

}  // namespace grua::engine
