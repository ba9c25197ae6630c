// Bytes in and out: attach, the log, the terminal's size.
#include "base/stream_frames.hpp"
#include "engine/engine_impl.hpp"
#include "engine/watch/client_end.hpp"
#include "monitor/detach_keys.hpp"

#include <fcntl.h>

namespace grua::engine {
namespace {

void require_attachable(const ContainerRecord& record) {
    switch (record.state.status) {
        case Status::paused:
            fail(ErrorKind::conflict, "container {} is paused, unpause the container before attach", record.id);
        case Status::restarting:
            fail(ErrorKind::conflict, "container {} is restarting, wait until the container is running", record.id);
        case Status::removing:
        case Status::dead:
            fail(ErrorKind::conflict, "container {} is marked for removal", record.id);
        default:
            return;
    }
}

void require_place(const Container& container) {
    if (!is_running(container.record->state.status) && container.attaches.size() >= pending_attach_limit)
        fail(ErrorKind::unavailable, "{} clients wait for the start of container {} already", container.attaches.size(),
             container.record->name);
}

/// Whose monitor takes clients: it runs, or a start has come so far that it takes no more of those that waited.
tasks::TaskPtr attachable_task(const Container& container) {
    const bool starts = container.phase == Phase::starting && !container.owned.has_between(Held::monitor, Held::monitor);
    return starts || container.record->state.status == Status::running ? container.task : nullptr;
}

/// Of a container that does not run: the log in Docker's framing.
asio::awaitable<void> write_log(std::shared_ptr<LogStream> log, bool multiplexed, std::shared_ptr<asio::posix::stream_descriptor> client) {
    for (;;) {
        const std::vector<LogLine> lines = co_await log->next();
        if (lines.empty()) co_return;
        std::string bytes;
        for (const LogLine& each : lines) {
            if (multiplexed) {
                append_frame(bytes, each.is_stderr ? StdStream::err : StdStream::out, each.text);
            } else {
                bytes += each.text;
            }
        }
        if (!co_await send_to(*client, std::move(bytes))) co_return;
    }
}

}  // namespace

RecordPtr Engine::Impl::check_attach(std::string_view reference, const AttachOptions& attach_options) const {
    const auto container = get_container(reference);
    // Before the connection is no longer HTTP, which has no way to say it.
    monitor::check_detach_keys(attach_options.detach_keys);
    require_attachable(*container->record);
    if (attach_options.stream) require_place(*container);
    return container->record;
}

asio::awaitable<void> Engine::Impl::attach(std::string reference, AttachOptions attach_options, Fd client, std::string early_input) {
    const auto container = get_container(reference);
    require_attachable(*container->record);
    emit(*container->record, "attach");
    tasks::AttachRequest request{.exec_id = {},
                                 .options = attach_options,
                                 .multiplexed = !container->record->config.tty && !attach_options.raw,
                                 .early_input = std::move(early_input)};
    // stdin of a container that was made without one goes nowhere.
    if (!container->record->config.open_stdin) request.options.use_stdin = false;
    if (const auto task = attachable_task(*container)) {
        co_await task->attach(std::move(request), std::move(client));
        co_return;
    }
    const bool wants_log =
        attach_options.logs && !container->record->log_path.empty() && (attach_options.use_stdout || attach_options.use_stderr);
    // One that never ran has no log yet. The first run's monitor gives it, whenever it begins: nothing is missed and nothing comes twice.
    if (wants_log && (!attach_options.stream || container->record->state.started_at != Time{})) {
        const int duplicate = ::fcntl(client.get(), F_DUPFD_CLOEXEC, 0);
        if (duplicate < 0) fail_errno("duplicate a client's socket");
        const auto writing = std::make_shared<asio::posix::stream_descriptor>(loop, duplicate);
        LogOptions wanted{.use_stdout = attach_options.use_stdout, .use_stderr = attach_options.use_stderr, .since = {}, .until = {}};
        for (;;) {
            const Time began = container->record->state.started_at;
            co_await write_log(log_streams.open(container, wanted), request.multiplexed, writing);
            const State& state = container->record->state;
            if (!attach_options.stream || is_running(state.status) || state.started_at == began) break;
            wanted.since = state.started_at;  // It ran and ended meanwhile.
        }
        request.options.logs = false;
    }
    if (!attach_options.stream) {
        end_client(loop, std::move(client));
        co_return;
    }
    // It may have started while the log was written.
    if (const auto task = attachable_task(*container)) {
        co_await task->attach(std::move(request), std::move(client));
        co_return;
    }
    require_place(*container);
    const auto waiting = std::make_shared<PendingAttach>(std::move(request), asio::posix::stream_descriptor(loop, client.get()));
    static_cast<void>(client.release());
    container->attaches.push_back(waiting);
    // A client that only stops to send is still there. (One by TCP that has left looks the same for a while.)
    waiting->client.async_wait(asio::posix::stream_descriptor::wait_error,
                               [from = std::weak_ptr(container), gone = std::weak_ptr(waiting)](const boost::system::error_code& error) {
                                   const auto still = from.lock();
                                   if (!error && still) std::erase(still->attaches, gone.lock());
                               });
}

asio::awaitable<std::shared_ptr<LogStream>> Engine::Impl::logs(std::string reference, LogOptions log_options) {
    const auto container = get_container(reference);
    if (!log_options.use_stdout && !log_options.use_stderr) fail(ErrorKind::invalid_argument, "you must choose at least one stream");
    if (container->record->log_path.empty()) fail(ErrorKind::not_implemented, "configured logging driver does not support reading");
    co_return log_streams.open(container, log_options);
}

asio::awaitable<void> Engine::Impl::resize(std::string reference, std::uint32_t height, std::uint32_t width) {
    const auto container = get_container(reference);
    if (!is_running(container->record->state.status) || !container->task)
        fail(ErrorKind::conflict, "container {} is not running", container->id());
    const auto task = container->task;
    co_await task->resize("", height, width);
    emit(*container->record, "resize", {{"height", std::to_string(height)}, {"width", std::to_string(width)}});
}

}  // namespace grua::engine
