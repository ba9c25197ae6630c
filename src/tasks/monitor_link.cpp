#include "tasks/monitor_link.hpp"

#include "base/log.hpp"
#include "monitor/messages.hpp"
#include "monitor/socket.hpp"

#include <poll.h>
#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

namespace grua::tasks {
namespace {

constexpr int exit_unknown = 255;
constexpr int hello_timeout_ms = 20000;

Time time_of(std::int64_t nanoseconds) { return Time(std::chrono::nanoseconds(nanoseconds)); }

ExitReport report_of(const monitor::Exited& message) {
    ExitReport out;
    out.code = message.code.value_or(exit_unknown);
    out.oom_killed = message.oom_killed;
    out.finished_at = message.finished_at == 0 ? now() : time_of(message.finished_at);
    out.error = message.error;
    if (message.started_at != 0) out.started_at = time_of(message.started_at);
    return out;
}

monitor::Attach message_of(const AttachRequest& request) {
    monitor::Attach out;
    out.exec_id = request.exec_id;
    out.use_stdin = request.options.use_stdin;
    out.use_stdout = request.options.use_stdout;
    out.use_stderr = request.options.use_stderr;
    out.multiplexed = request.multiplexed;
    out.logs = request.options.logs;
    out.stream = request.options.stream;
    out.detach_keys = request.options.detach_keys;
    out.ends_with_client = request.options.ends_with_client;
    out.early_input_hex = monitor::to_hex(request.early_input);
    return out;
}

}  // namespace

class MonitorLink::Impl : public std::enable_shared_from_this<MonitorLink::Impl> {
public:
    Impl(const asio::any_io_executor& loop, Fd socket, MonitorEvents events)
        : loop_(loop), socket_(loop, socket.release()), events_(std::move(events)), replied_(loop) {
        socket_.native_non_blocking(true);
    }

    void run() { asio::co_spawn(loop_, read_all(shared_from_this()), asio::detached); }

    std::uint64_t next_seq() { return ++seq_; }

    void post(const std::string& text, const Fd& client) {
        const int fd = client.get();
        if (monitor::send(socket_.native_handle(), text, {&fd, 1}, true) != monitor::Sent::yes)
            fail(ErrorKind::unavailable, "too many clients are attached before the start");
    }

    struct Answer {
        monitor::Reply reply;
        std::vector<Fd> fds;
    };

    asio::awaitable<Answer> request(std::uint64_t seq, std::string text, Fd client) {
        std::vector<Fd> given;
        if (client) given.push_back(std::move(client));
        return request(seq, std::move(text), std::move(given));
    }

    asio::awaitable<Answer> request(std::uint64_t seq, std::string text, std::vector<Fd> given) {
        const auto self = shared_from_this();
        for (;;) {
            if (closed_) fail(ErrorKind::unavailable, "the container's monitor has ended");
            std::vector<int> fds;
            for (const Fd& each : given) fds.push_back(each.get());
            const auto sent = monitor::send(socket_.native_handle(), text, fds, true);
            if (sent == monitor::Sent::yes) break;
            if (sent == monitor::Sent::peer_gone) fail(ErrorKind::unavailable, "the container's monitor has ended");
            (void)co_await socket_.async_wait(asio::posix::stream_descriptor::wait_write, asio::as_tuple(asio::use_awaitable));
        }
        given.clear();
        // Goes with whoever waits: an answer that nobody wants any more is dropped.
        const Waiting waiting(waiting_, seq);
        while (!waiting.answer() && !closed_) co_await replied_.wait();
        std::optional<Answer> answer = std::exchange(waiting.answer(), std::nullopt);
        if (!answer) fail(ErrorKind::unavailable, "the container's monitor has ended");
        if (answer->reply.error) throw monitor::to_error(*answer->reply.error);
        co_return std::move(*answer);
    }

    void set_events(MonitorEvents events) { events_ = std::move(events); }
    bool is_closed() const noexcept { return closed_; }

    /// Nobody is told: who closes knows.
    void close() {
        events_ = {};
        finish();
    }

private:
    class Waiting {
    public:
        Waiting(std::map<std::uint64_t, std::optional<Answer>>& all, std::uint64_t seq) : all_(all), at_(all.try_emplace(seq).first) {}
        Waiting(const Waiting&) = delete;
        Waiting& operator=(const Waiting&) = delete;
        ~Waiting() { all_.erase(at_); }
        std::optional<Answer>& answer() const { return at_->second; }

    private:
        std::map<std::uint64_t, std::optional<Answer>>& all_;
        std::map<std::uint64_t, std::optional<Answer>>::iterator at_;
    };

    static asio::awaitable<void> read_all(std::shared_ptr<Impl> self) {
        std::string why = "the container's monitor has ended";
        while (!self->closed_) {
            monitor::Packet packet;
            auto got = monitor::Received::closed;
            std::function<void()> tell;
            try {
                got = monitor::receive(self->socket_.native_handle(), packet, true);
                if (got == monitor::Received::packet) tell = self->take(packet);
            } catch (const std::exception& error) {
                // It may have been what somebody waits for, so the end of the link is the answer.
                why = fmt::format("a message of the container's monitor cannot be read: {}", error.what());
                log::warn("{}", why);
                break;
            }
            if (got == monitor::Received::closed) break;
            if (got == monitor::Received::would_block)
                (void)co_await self->socket_.async_wait(asio::posix::stream_descriptor::wait_read, asio::as_tuple(asio::use_awaitable));
            try {
                if (tell) tell();
            } catch (const std::exception& error) {
                log::error("after a message of a container's monitor: {}", error.what());
            }
        }
        if (self->closed_) co_return;
        const auto closed = self->events_.closed;
        self->finish();
        if (closed) closed(why);
    }

    /// What is to be done with it. Throws Error where it is no message.
    std::function<void()> take(monitor::Packet& packet) {
        const auto type = monitor::decode<monitor::Header>(packet.text).type;
        // Kept beside: a handler may close this link.
        if (type == monitor::Reply::name) {
            auto reply = monitor::decode<monitor::Reply>(packet.text);
            const auto found = waiting_.find(reply.seq);
            if (found != waiting_.end()) found->second = Answer{.reply = std::move(reply), .fds = std::move(packet.fds)};
            replied_.notify_all();
        } else if (type == monitor::Started::name) {
            const auto message = monitor::decode<monitor::Started>(packet.text);
            if (packet.fds.empty()) fail(ErrorKind::invalid_argument, "started without a pidfd");
            return [told = events_.started, message, pidfd = std::make_shared<Fd>(std::move(packet.fds.front()))] {
                if (told) told(message.pid, time_of(message.started_at), std::move(*pidfd));
            };
        } else if (type == monitor::Failed::name) {
            return [told = events_.failed, error = monitor::to_error(monitor::decode<monitor::Failed>(packet.text).error)] {
                if (told) told(error);
            };
        } else if (type == monitor::Exited::name) {
            return [told = events_.exited, report = report_of(monitor::decode<monitor::Exited>(packet.text))] {
                if (told) told(report);
            };
        } else if (type == monitor::LogNews::name) {
            return [told = events_.log_news, message = monitor::decode<monitor::LogNews>(packet.text)] {
                if (told) told(message.text);
            };
        } else if (type == monitor::Detached::name) {
            return [told = events_.detached, message = monitor::decode<monitor::Detached>(packet.text)] {
                if (told) told(message.exec_id);
            };
        } else if (type == monitor::ExecExited::name) {
            const auto message = monitor::decode<monitor::ExecExited>(packet.text);
            return [told = events_.exec_exited, message] {
                if (told) told(message.exec_id, message.code.value_or(exit_unknown));
            };
        }
        return {};
    }

    void finish() {
        if (closed_) return;
        closed_ = true;
        boost::system::error_code ignored;
        socket_.close(ignored);
        replied_.notify_all();
    }

    asio::any_io_executor loop_;
    asio::posix::stream_descriptor socket_;
    MonitorEvents events_;
    Condition replied_;
    std::map<std::uint64_t, std::optional<Answer>> waiting_;
    std::uint64_t seq_ = 0;
    bool closed_ = false;
};

MonitorLink::MonitorLink(const asio::any_io_executor& loop, Fd socket, MonitorEvents events)
    : impl_(std::make_shared<Impl>(loop, std::move(socket), std::move(events))) {}
MonitorLink::~MonitorLink() { impl_->close(); }

void MonitorLink::run() { impl_->run(); }

void MonitorLink::post_attach(AttachRequest request, Fd client) {
    auto message = message_of(request);
    message.seq = impl_->next_seq();
    impl_->post(monitor::encode(message), client);
}

asio::awaitable<void> MonitorLink::attach(AttachRequest request, Fd client) {
    const auto impl = impl_;
    auto message = message_of(request);
    message.seq = impl->next_seq();
    co_await impl->request(message.seq, monitor::encode(message), std::move(client));
}

asio::awaitable<MonitorLink::ExecStarted> MonitorLink::exec(std::string exec_id, oci::Process process, std::optional<AttachRequest> attach,
                                                            Fd client) {
    const auto impl = impl_;
    monitor::Exec message;
    message.seq = impl->next_seq();
    message.exec_id = std::move(exec_id);
    message.process = oci::to_value(process);
    if (attach) message.attach = message_of(*attach);
    auto answer = co_await impl->request(message.seq, monitor::encode(message), std::move(client));
    ExecStarted out{.pid = answer.reply.pid, .pidfd = {}};
    if (!answer.fds.empty()) out.pidfd = std::move(answer.fds.front());
    co_return out;
}

asio::awaitable<void> MonitorLink::resize(std::string exec_id, std::uint32_t rows, std::uint32_t columns) {
    const auto impl = impl_;
    monitor::Resize message;
    message.seq = impl->next_seq();
    message.exec_id = std::move(exec_id);
    message.rows = static_cast<std::uint16_t>(std::min(rows, 65535U));
    message.columns = static_cast<std::uint16_t>(std::min(columns, 65535U));
    co_await impl->request(message.seq, monitor::encode(message), Fd());
}

asio::awaitable<void> MonitorLink::hold(std::map<std::string, Fd> held) {
    const auto impl = impl_;
    monitor::Hold message;
    message.seq = impl->next_seq();
    std::vector<Fd> fds;
    for (auto& [name, fd] : held) {
        message.names.push_back(name);
        fds.push_back(std::move(fd));
    }
    co_await impl->request(message.seq, monitor::encode(message), std::move(fds));
}

void MonitorLink::set_events(MonitorEvents events) { impl_->set_events(std::move(events)); }
bool MonitorLink::is_closed() const noexcept { return impl_->is_closed(); }
void MonitorLink::close() { impl_->close(); }

std::optional<ExitReport> read_exit_file(const std::string& directory) {
    const auto found = monitor::read_exit_file(directory);
    return found ? std::optional(report_of(*found)) : std::nullopt;
}

std::optional<FoundMonitor> find_monitor(const std::string& directory) {
    auto socket = monitor::connect_to_monitor(directory);
    if (!socket) return std::nullopt;
    pollfd wait{.fd = socket->get(), .events = POLLIN, .revents = 0};
    if (::poll(&wait, 1, hello_timeout_ms) != 1) return std::nullopt;
    monitor::Packet packet;
    if (monitor::receive(socket->get(), packet) != monitor::Received::packet) return std::nullopt;
    if (monitor::decode<monitor::Header>(packet.text).type != monitor::Hello::name) return std::nullopt;
    const auto hello = monitor::decode<monitor::Hello>(packet.text);
    FoundMonitor out;
    out.version = hello.version;
    out.socket = std::move(*socket);
    out.pid = hello.pid;
    out.started_at = time_of(hello.started_at);
    // What is held is last.
    if (packet.fds.size() < hello.held.size()) fail(ErrorKind::invalid_argument, "hello without the descriptors that it names");
    const std::size_t before = packet.fds.size() - hello.held.size();
    if (before > 0) out.pidfd = std::move(packet.fds.front());
    for (std::size_t i = 0; i < hello.held.size(); ++i) out.held[hello.held[i]] = std::move(packet.fds[before + i]);
    if (hello.exited) out.exited = report_of(*hello.exited);
    return out;
}

}  // namespace grua::tasks
