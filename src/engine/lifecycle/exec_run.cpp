// Further programs in a running container.
#include "base/id.hpp"
#include "base/log.hpp"
#include "base/stream_frames.hpp"
#include "engine/engine_impl.hpp"
#include "engine/watch/client_end.hpp"
#include "monitor/detach_keys.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <array>

namespace grua::engine {
namespace {

constexpr int exit_not_executable = 126;
constexpr int exit_not_found = 127;

int exit_code_of(const Error& error) {
    const std::string text = to_lower(error.what());
    return text.contains("permission denied") || text.contains("is a directory") ? exit_not_executable : exit_not_found;
}

std::string command_text(const ExecConfig& config) { return join(config.cmd, " "); }

void tell_client(int client, const std::string& text, bool multiplexed) {
    std::string message;
    if (multiplexed) {
        append_frame(message, StdStream::out, text);
    } else {
        message = text;
    }
    (void)::send(client, message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

}  // namespace

asio::awaitable<std::string> Engine::Impl::exec_create(std::string reference, ExecConfig config) {
    const auto container = get_container(reference);
    const Status status = container->record->state.status;
    if (status == Status::paused)
        fail(ErrorKind::conflict, "container {} is paused, unpause the container before exec", container->record->name);
    if (status == Status::restarting)
        fail(ErrorKind::conflict, "container {} is restarting, wait until the container is running", container->record->name);
    if (status != Status::running) fail(ErrorKind::conflict, "container {} is not running", container->id());
    if (config.cmd.empty()) fail(ErrorKind::invalid_argument, "no exec command specified");
    for (const auto& each : config.env)
        if (each.empty() || each.starts_with('=')) fail(ErrorKind::invalid_argument, "invalid environment variable: {}", each);
    monitor::check_detach_keys(config.detach_keys);
    auto exec = std::make_shared<ExecRecord>();
    exec->id = random_id();
    exec->container_id = container->id();
    exec->config = std::move(config);
    execs.emplace(exec->id, exec);
    container->update([&](ContainerRecord& next) { next.exec_ids.push_back(exec->id); });
    publish(*container);
    emit(*container->record, "exec_create: " + command_text(exec->config), {{"execID", exec->id}});
    co_return exec->id;
}

ExecPtr Engine::Impl::exec_find(std::string_view id) const {
    const auto found = execs.find(std::string(id));
    if (found == execs.end()) fail(ErrorKind::not_found, "No such exec instance: {}", id);
    return found->second;
}

ExecPtr Engine::Impl::check_exec(std::string_view id) const {
    auto exec = exec_find(id);
    const auto container = get_container(exec->container_id);
    const Status status = container->record->state.status;
    if (status == Status::paused)
        fail(ErrorKind::conflict, "container {} is paused, unpause the container before exec", container->record->name);
    if (status != Status::running || !container->link) fail(ErrorKind::conflict, "container {} is not running", container->id());
    if (exec->running) fail(ErrorKind::conflict, "exec command {} is already running", id);
    if (exec->started) fail(ErrorKind::conflict, "exec command {} has already run", id);
    return exec;
}

asio::awaitable<void> Engine::Impl::exec_start(std::string id, ExecStart start, Fd client, std::string early_input) {
    const auto exec = check_exec(id);
    const auto container = get_container(exec->container_id);
    const auto change = [&](auto how) {
        auto next = std::make_shared<ExecRecord>(*exec_find(id));
        how(*next);
        execs.insert_or_assign(id, std::move(next));
    };
    change([](ExecRecord& next) {
        next.started = true;
        next.running = true;
    });
    ExecConfig config = exec->config;
    if (start.console_size) config.console_size = {start.console_size->first, start.console_size->second};
    const bool multiplexed = !config.tty;
    std::optional<tasks::AttachRequest> attach;
    Fd spare;
    if (client) {
        const int duplicate = ::fcntl(client.get(), F_DUPFD_CLOEXEC, 0);
        if (duplicate < 0) fail_errno("duplicate a client's socket");
        spare = Fd(duplicate);
        attach.emplace();
        attach->exec_id = id;
        attach->multiplexed = multiplexed;
        attach->options.use_stdin = config.attach_stdin;
        attach->options.use_stdout = config.attach_stdout || config.tty;
        attach->options.use_stderr = config.attach_stderr;
        attach->options.stream = true;
        attach->options.detach_keys = start.detach_keys.empty() ? config.detach_keys : start.detach_keys;
        attach->early_input = std::move(early_input);
    }
    emit(*container->record, "exec_start: " + command_text(config), {{"execID", id}});
    std::optional<Error> failure;
    try {
        const auto link = container->link;
        const pid_t pid = co_await link->exec(id, exec_process(*container->record, config, host), std::move(attach), std::move(client));
        if (execs.contains(id) && exec_find(id)->running) change([&](ExecRecord& next) { next.pid = pid; });
    } catch (const Error& error) {
        failure = error;
    }
    if (!failure) co_return;
    const int code = exit_code_of(*failure);
    if (execs.contains(id))
        change([&](ExecRecord& next) {
            next.running = false;
            next.exit_code = code;
        });
    const std::string text = fmt::format("OCI runtime exec failed: exec failed: unable to start container process: {}", failure->what());
    if (!spare) throw Error(ErrorKind::invalid_argument, text);
    tell_client(spare.get(), text + "\r\n", multiplexed);
    end_client(loop, std::move(spare));
}

asio::awaitable<void> Engine::Impl::exec_resize(std::string id, std::uint32_t height, std::uint32_t width) {
    const auto exec = exec_find(id);
    const auto container = get_container(exec->container_id);
    if (!exec->running || !container->link) fail(ErrorKind::conflict, "exec process is not started");
    const auto link = container->link;
    co_await link->resize(id, height, width);
    emit(*container->record, "exec_resize", {{"execID", id}});
}

void Engine::Impl::on_exec_exited(const ContainerPtr& container, const std::string& id, int code) {
    const auto found = execs.find(id);
    if (found == execs.end()) return;
    auto next = std::make_shared<ExecRecord>(*found->second);
    next->running = false;
    next->pid = 0;
    next->exit_code = code;
    found->second = std::move(next);
    emit(*container->record, "exec_die", {{"execID", id}, {"exitCode", std::to_string(code)}});
    container->update([&](ContainerRecord& record) { std::erase(record.exec_ids, id); });
    publish(*container);
    // Inspect must find it for a while, as Docker keeps it; then it goes.
    const auto present = Condition::Clock::now();
    finished_execs.emplace_back(present, id);
    while (!finished_execs.empty() && finished_execs.front().first + std::chrono::minutes(5) < present) {
        execs.erase(finished_execs.front().second);
        finished_execs.pop_front();
    }
}

/// The container's run is over, and theirs with it.
void Engine::Impl::forget_execs(Container& container) {
    for (auto& [id, exec] : execs) {
        if (exec->container_id != container.id() || !exec->running) continue;
        auto next = std::make_shared<ExecRecord>(*exec);
        next->running = false;
        next->pid = 0;
        next->exit_code = 137;
        exec = std::move(next);
        finished_execs.emplace_back(Condition::Clock::now(), id);
    }
    container.update([](ContainerRecord& next) { next.exec_ids.clear(); });
}

}  // namespace grua::engine
