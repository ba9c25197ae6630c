// Further programs in a running container. The steps of a start are the list at the end of the first part.
#include "base/id.hpp"
#include "base/log.hpp"
#include "base/stream_frames.hpp"
#include "engine/lifecycle/lifecycle.hpp"
#include "engine/lifecycle/steps.hpp"
#include "engine/model/request_texts.hpp"
#include "engine/watch/client_end.hpp"
#include "monitor/detach_keys.hpp"
#include "runtime/container.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <array>

namespace grua::engine {
namespace {

using namespace std::chrono_literals;

/// Inspect must find one that has ended for a while, as Docker keeps it; then it goes.
constexpr auto kept_for = 5min;
/// Of one container, that were never started: clients that make them and leave do not fill the memory.
constexpr std::size_t most_waiting = 1024;

int exit_code_of(const Error& error) { return runtime::exit_status_for(error) == 126 ? 126 : 127; }

/// As Docker's events have it: with a space behind a program without arguments.
std::string command_text(const ExecConfig& config) { return join(config.cmd, " ") + (config.cmd.size() == 1 ? " " : ""); }

void tell_client(int client, const std::string& text, bool multiplexed) {
    std::string message;
    if (multiplexed) {
        append_frame(message, StdStream::out, text);
    } else {
        message = text;
    }
    (void)::send(client, message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

// --- the steps of a start --------------------------------------------------------------------------------------------

struct ExecWork : AtStep {
    ExecWork(std::shared_ptr<Lifecycle> engine, const ExecPtr& exec, ExecStart how)
        : keeps(std::move(engine)),
          life(*keeps),
          container(life.get_container(exec->container_id)),
          id(exec->id),
          config(exec->config),
          start(std::move(how)) {
        if (start.console_size) config.console_size = {start.console_size->first, start.console_size->second};
    }

    std::shared_ptr<Lifecycle> keeps;
    Lifecycle& life;
    ContainerPtr container;
    std::string id;
    ExecConfig config;  ///< The one copy.
    ExecStart start;
    Fd client;
    Fd spare;  ///< The client's socket once more, to say why nothing runs.
    std::string early_input;
    std::optional<tasks::AttachRequest> attach;
    oci::Process process;
};

asio::awaitable<void> take_client(std::shared_ptr<ExecWork> work) {
    if (!work->client) co_return;
    const int duplicate = ::fcntl(work->client.get(), F_DUPFD_CLOEXEC, 0);
    if (duplicate < 0) fail_errno("duplicate a client's socket");
    work->spare = Fd(duplicate);
    const ExecConfig& config = work->config;
    tasks::AttachRequest& attach = work->attach.emplace();
    attach.exec_id = work->id;
    attach.multiplexed = !work->start.tty;
    attach.options.use_stdin = config.attach_stdin;
    attach.options.use_stdout = config.attach_stdout || config.tty;
    attach.options.use_stderr = config.attach_stderr;
    attach.options.stream = true;
    attach.options.detach_keys = work->start.detach_keys.empty() ? config.detach_keys : work->start.detach_keys;
    attach.early_input = std::move(work->early_input);
}

asio::awaitable<void> write_process(std::shared_ptr<ExecWork> work) {
    work->process = work->life.further_process(*work->container->record, work->config);
    co_return;
}

asio::awaitable<void> launch(std::shared_ptr<ExecWork> work) {
    const auto task = work->container->task;
    if (!task) fail(ErrorKind::conflict, "container {} is not running", work->container->id());
    const auto handle = co_await task->exec(work->id, std::move(work->process), std::move(work->attach), std::move(work->client));
    if (work->life.execs.contains(work->id) && work->life.exec_find(work->id)->running)
        work->life.change_exec(work->id, [&](ExecRecord& next) { next.pid = handle->pid(); });
}

constexpr std::array<Step<ExecWork>, 3> exec_steps{{
    {.name = "exec:client", .on_loop = take_client},
    {.name = "exec:process", .on_loop = write_process},
    {.name = "exec:launch", .on_loop = launch},
}};

}  // namespace

oci::Process Lifecycle::further_process(const ContainerRecord& record, const ExecConfig& config) const {
    const SpecInput input{.record = record,
                          .host = host,
                          .cgroup_path = {},
                          .init_path = {},
                          .hostname = record.config.hostname,
                          .no_new_privileges = options.no_new_privileges,
                          .linked_environment = linked_environment(record)};
    return exec_process(input, config);
}

void Lifecycle::change_exec(const std::string& id, const std::function<void(ExecRecord&)>& how) {
    auto next = std::make_shared<ExecRecord>(*exec_find(id));
    how(*next);
    execs.insert_or_assign(id, std::move(next));
}

ContainerPtr Lifecycle::check_exec_create(std::string_view reference, const ExecConfig& config) const {
    auto container = get_container(reference);
    const Status status = container->record->state.status;
    if (status == Status::paused)
        fail(ErrorKind::conflict, "Container {} is paused, unpause the container before exec", container->record->name);
    if (status == Status::restarting)
        fail(ErrorKind::conflict, "container {} is restarting, wait until the container is running", container->record->name);
    if (status != Status::running) fail(ErrorKind::conflict, "container {} is not running", container->id());
    if (config.cmd.empty()) fail(ErrorKind::invalid_argument, "No exec command specified");
    for (const auto& each : config.env)
        if (each.empty() || each.starts_with('=')) fail(ErrorKind::invalid_argument, "invalid environment variable: {}", each);
    check_texts(config);
    monitor::check_detach_keys(config.detach_keys);
    return container;
}

asio::awaitable<std::string> Lifecycle::exec_create(std::string reference, ExecConfig config) {
    const auto container = check_exec_create(reference, config);
    co_return add_exec(*container, std::move(config));
}

std::string Lifecycle::add_exec(Container& container, ExecConfig config) {
    expire_execs();
    forget_oldest_waiting(container);
    auto exec = std::make_shared<ExecRecord>();
    exec->id = random_id();
    exec->container_id = container.id();
    exec->config = std::move(config);
    execs.emplace(exec->id, exec);
    container.update([&](ContainerRecord& next) { next.exec_ids.push_back(exec->id); });
    publish(container);
    emit(*container.record, "exec_create: " + command_text(exec->config), {{"execID", exec->id}});
    return exec->id;
}

/// One more is about to come. Whoever starts what they make does so at once, so the oldest is nobody's.
void Lifecycle::forget_oldest_waiting(Container& container) {
    const StringList& in_order = container.record->exec_ids;
    const auto waits = [&](const std::string& id) {
        const auto found = execs.find(id);
        return found != execs.end() && !found->second->started;
    };
    if (static_cast<std::size_t>(std::ranges::count_if(in_order, waits)) < most_waiting) return;
    const std::string oldest = *std::ranges::find_if(in_order, waits);
    container.update([&](ContainerRecord& next) { std::erase(next.exec_ids, oldest); });
    execs.erase(oldest);
}

ExecPtr Lifecycle::exec_find(std::string_view id) const {
    const auto found = execs.find(std::string(id));
    if (found == execs.end()) fail(ErrorKind::not_found, "No such exec instance: {}", id);
    return found->second;
}

ExecPtr Lifecycle::check_exec(std::string_view id) const {
    auto exec = exec_find(id);
    const auto container = get_container(exec->container_id);
    const Status status = container->record->state.status;
    if (status == Status::paused)
        fail(ErrorKind::conflict, "Container {} is paused, unpause the container before exec", container->record->name);
    if (status != Status::running || !container->task) fail(ErrorKind::conflict, "container {} is not running", container->id());
    if (exec->running) fail(ErrorKind::conflict, "exec command {} is already running", id);
    if (exec->started) fail(ErrorKind::conflict, "exec command {} has already run", id);
    return exec;
}

asio::awaitable<void> Lifecycle::exec_start(std::string id, ExecStart start, Fd client, std::string early_input) {
    const auto work = std::make_shared<ExecWork>(shared_from_this(), check_exec(id), std::move(start));
    work->client = std::move(client);
    work->early_input = std::move(early_input);
    const ContainerPtr container = work->container;
    change_exec(id, [](ExecRecord& next) {
        next.started = true;
        next.running = true;
    });
    emit(*container->record, "exec_start: " + command_text(work->config), {{"execID", id}});
    std::optional<Error> failure;
    try {
        co_await run_steps<ExecWork>(pool, exec_steps, work);
    } catch (const Error& error) {
        failure = error;
    } catch (const std::exception& error) {
        failure = Error(ErrorKind::system, error.what());
    }
    if (!failure) co_return;
    const int code = exit_code_of(*failure);
    end_exec(id, code);
    container->update([&](ContainerRecord& record) { std::erase(record.exec_ids, id); });
    publish(*container);
    const std::string text = fmt::format("OCI runtime exec failed: exec failed: unable to start container process: {}", failure->what());
    Fd told = work->spare ? std::move(work->spare) : std::move(work->client);
    if (!told) throw Error(ErrorKind::invalid_argument, text);
    tell_client(told.get(), text + "\r\n", !work->start.tty);
    end_client(loop, std::move(told));
}

asio::awaitable<void> Lifecycle::exec_resize(std::string id, std::uint32_t height, std::uint32_t width) {
    const auto exec = exec_find(id);
    const auto container = get_container(exec->container_id);
    if (!exec->running || !container->task) fail(ErrorKind::conflict, "exec process is not started");
    const auto task = container->task;
    co_await task->resize(id, height, width);
    emit(*container->record, "exec_resize", {{"execID", id}});
}

void Lifecycle::on_exec_exited(const ContainerPtr& container, const std::string& id, int code) {
    if (!execs.contains(id)) return;
    end_exec(id, code);
    emit(*container->record, "exec_die", {{"execID", id}, {"exitCode", std::to_string(code)}});
    container->update([&](ContainerRecord& record) { std::erase(record.exec_ids, id); });
    publish(*container);
}

void Lifecycle::end_exec(const std::string& id, int code) {
    if (!execs.contains(id)) return;
    change_exec(id, [&](ExecRecord& next) {
        next.running = false;
        next.pid = 0;
        next.exit_code = code;
    });
    finished_execs.emplace_back(ground.clock.steady(), id);
    expire_execs();
}

void Lifecycle::expire_execs() {
    const auto oldest = ground.clock.steady() - kept_for;
    while (!finished_execs.empty() && finished_execs.front().first < oldest) {
        execs.erase(finished_execs.front().second);
        finished_execs.pop_front();
    }
}

/// The container's run is over, and theirs with it; those that were never started have lost what they were for.
void Lifecycle::forget_execs(Container& container) {
    std::vector<std::string> running;
    std::erase_if(execs, [&](const auto& each) {
        if (each.second->container_id != container.id()) return false;
        if (each.second->running) running.push_back(each.first);
        return !each.second->started;
    });
    for (const std::string& id : running) end_exec(id, 137);
}

}  // namespace grua::engine
