// Bytes in and out: attach, the log, the terminal's size.
#include "base/files.hpp"
#include "base/log.hpp"
#include "engine/engine_impl.hpp"
#include "monitor/log_reader.hpp"

#include <sys/socket.h>
#include <unistd.h>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

namespace grua::engine {
namespace {

constexpr std::size_t batch_limit = 256;

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

monitor::LogReaderOptions reader_options(const ContainerRecord& record, const LogOptions& options) {
    monitor::LogReaderOptions out;
    out.path = record.log_path;
    if (options.tail >= 0) out.tail = static_cast<std::uint64_t>(options.tail);
    out.since = options.since.value_or(Time{});
    out.until = options.until.value_or(Time{});
    out.follow = options.follow;
    return out;
}

class FileLogStream : public LogStream, public std::enable_shared_from_this<FileLogStream> {
public:
    FileLogStream(asio::any_io_executor loop, asio::thread_pool& pool, ContainerPtr container, LogOptions options)
        : loop_(std::move(loop)), pool_(pool), container_(std::move(container)), options_(options) {}

    asio::awaitable<std::vector<LogLine>> next() override {
        const auto self = shared_from_this();
        for (;;) {
            // Looked at before reading: what was written before the end is then in the log.
            const bool lives = options_.follow && !container_->gone &&
                               (is_running(container_->record->state.status) || container_->record->state.status == Status::restarting ||
                                container_->record->state.status == Status::created);
            auto read = [this, self, record = container_->record, options = options_] {
                if (!reader_) reader_ = std::make_unique<monitor::LogReader>(reader_options(*record, options));
                monitor::LogReader* const reader = reader_.get();
                std::vector<LogLine> batch;
                while (batch.size() < batch_limit) {
                    auto entry = reader->next();
                    if (!entry) break;
                    if (entry->from_stderr ? !options.use_stderr : !options.use_stdout) continue;
                    batch.push_back(
                        {.time = entry->time, .is_stderr = entry->from_stderr, .text = std::move(entry->text), .attributes = {}});
                }
                return batch;
            };
            auto batch = co_await offload(pool_, std::move(read));
            if (!batch.empty() || !lives || reader_->ended()) co_return batch;
            co_await wait_for_more();
        }
    }

private:
    asio::awaitable<void> wait_for_more() {
        using namespace asio::experimental::awaitable_operators;
        if (!watch_) {
            const int own = ::dup(reader_->watch_fd());
            if (own < 0) fail_errno("watch a log");
            watch_.emplace(loop_, own);
        }
        auto deadline = Condition::Clock::time_point::max();
        if (options_.until) deadline = Condition::Clock::now() + (*options_.until - now());
        co_await (watch_->async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable) || container_->changed.wait(deadline));
    }

    asio::any_io_executor loop_;
    asio::thread_pool& pool_;
    ContainerPtr container_;
    LogOptions options_;
    std::unique_ptr<monitor::LogReader> reader_;  // made and read on the pool, by one at a time
    std::optional<asio::posix::stream_descriptor> watch_;
};

/// Of a container that does not run: the log in Docker's framing, then the end.
void write_log(const ContainerRecord& record, const AttachOptions& options, bool multiplexed, int client) {
    const timeval limit{.tv_sec = 10, .tv_usec = 0};
    (void)::setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    monitor::LogReader reader({.path = record.log_path, .tail = {}});
    while (const auto entry = reader.next()) {
        if (entry->from_stderr ? !options.use_stderr : !options.use_stdout) continue;
        std::string bytes;
        if (multiplexed) {
            const auto size = static_cast<std::uint32_t>(entry->text.size());
            bytes = {entry->from_stderr ? '\2' : '\1',
                     0,
                     0,
                     0,
                     static_cast<char>(size >> 24U),
                     static_cast<char>(size >> 16U),
                     static_cast<char>(size >> 8U),
                     static_cast<char>(size)};
        }
        bytes += entry->text;
        for (std::size_t sent = 0; sent < bytes.size();) {
            const ssize_t count = ::send(client, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
            if (count <= 0) return;
            sent += static_cast<std::size_t>(count);
        }
    }
}

}  // namespace

RecordPtr Engine::Impl::check_attach(std::string_view reference, const AttachOptions& attach_options) const {
    const auto container = get_container(reference);
    require_attachable(*container->record);
    if (attach_options.stream) require_place(*container);
    return container->record;
}

asio::awaitable<void> Engine::Impl::attach(std::string reference, AttachOptions attach_options, Fd client, std::string early_input) {
    const auto container = get_container(reference);
    require_attachable(*container->record);
    emit(*container->record, "attach");
    tasks::AttachRequest request{
        .exec_id = {}, .options = attach_options, .multiplexed = !container->record->config.tty, .early_input = std::move(early_input)};
    // stdin of a container that was made without one goes nowhere.
    if (!container->record->config.open_stdin) request.options.use_stdin = false;
    if (container->record->state.status == Status::running && container->link) {
        const auto link = container->link;
        co_await link->attach(std::move(request), std::move(client));
        co_return;
    }
    if (attach_options.logs && !container->record->log_path.empty()) {
        auto write = [record = container->record, attach_options, multiplexed = request.multiplexed,
                      duplicate = std::make_shared<Fd>(::dup(client.get()))] {
            write_log(*record, attach_options, multiplexed, duplicate->get());
            return true;
        };
        co_await offload(pool, std::move(write));
        request.options.logs = false;
    }
    if (!attach_options.stream) co_return;
    // It may have started while the log was written.
    if (container->record->state.status == Status::running && container->link) {
        const auto link = container->link;
        co_await link->attach(std::move(request), std::move(client));
        co_return;
    }
    require_place(*container);
    const auto waiting = std::make_shared<PendingAttach>(std::move(request), asio::posix::stream_descriptor(loop, client.get()));
    static_cast<void>(client.release());
    container->attaches.push_back(waiting);
    // A client that only stops to send is still there. (One by TCP that has left looks the same until it is written to.)
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
    co_return std::make_shared<FileLogStream>(loop, pool, container, log_options);
}

asio::awaitable<void> Engine::Impl::resize(std::string reference, std::uint32_t height, std::uint32_t width) {
    const auto container = get_container(reference);
    if (!is_running(container->record->state.status) || !container->link)
        fail(ErrorKind::conflict, "container {} is not running", container->id());
    const auto link = container->link;
    co_await link->resize("", height, width);
    emit(*container->record, "resize", {{"height", std::to_string(height)}, {"width", std::to_string(width)}});
}

}  // namespace grua::engine
