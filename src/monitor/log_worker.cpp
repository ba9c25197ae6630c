#include "monitor/log_worker.hpp"

#include "base/error.hpp"
#include "base/memory_file.hpp"
#include "monitor/log_program.hpp"
#include "monitor/messages.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <ctime>

namespace grua::monitor {
namespace {

constexpr std::size_t block = std::size_t{64} << 10U;
constexpr std::size_t most_news = 16;
constexpr std::int64_t pause_ms = 1000;
/// A worker whose monitor has ended waits no longer for its peer.
constexpr std::int64_t patience_ms = 10000;

std::int64_t clock_ms() {
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/// Before each line on its way to the worker, which is of the same program.
struct Frame {
    enum class Kind : std::uint8_t { whole, part, last_part, reopen };
    std::uint32_t text_size = 0;
    Kind kind = Kind::whole;
    Stream stream = Stream::standard_output;
    std::uint16_t id_size = 0;
    std::int32_t ordinal = 0;
    std::int32_t unused = 0;
    std::int64_t time = 0;
};

/// On its way back: bytes of frames that are done, or news with their text behind them.
struct WorkerReply {
    enum class Kind : std::uint64_t { done, news };
    Kind kind = Kind::done;
    std::uint64_t size = 0;
};

template <typename T>
std::string_view bytes_of(const T& value) {
    return {reinterpret_cast<const char*>(&value), sizeof value};
}

template <typename T>
T taken_from(std::string_view bytes) {
    T out;
    std::memcpy(&out, bytes.data(), sizeof out);
    return out;
}

/// In the worker.
class Worker final : public LogHost {
public:
    explicit Worker(Fd socket) : socket_(std::move(socket)) {}

    int run(const LogWorker::Make& make) {
        driver_ = make(*this);
        std::string in;
        std::array<char, block> bytes{};
        for (;;) {
            const ssize_t got = ::recv(socket_.get(), bytes.data(), bytes.size(), 0);
            if (got < 0 && errno == EINTR) continue;
            if (got <= 0) break;
            in.append(bytes.data(), static_cast<std::size_t>(got));
            const std::size_t used = take(in);
            driver_->flush();
            for (const std::string& news : driver_->take_news()) tell(news);
            in.erase(0, used);
            answer({.kind = WorkerReply::Kind::done, .size = used}, {});
            for (pid_t pid = 0; (pid = ::waitpid(-1, nullptr, WNOHANG)) > 0;) driver_->child_ended(pid);
        }
        driver_->end();
        for (const std::string& news : driver_->take_news()) tell(news);
        return 0;
    }

    bool wait(int fd, short events, std::chrono::milliseconds time) override {
        const std::int64_t until = clock_ms() + time.count();
        for (;;) {
            // Its end: there may be lines left to read.
            std::array<pollfd, 2> waits{pollfd{.fd = ended_at_ > 0 ? -1 : socket_.get(), .events = POLLRDHUP, .revents = 0},
                                        pollfd{.fd = fd, .events = events, .revents = 0}};
            const std::int64_t left = std::max<std::int64_t>(0, until - clock_ms());
            if (::poll(waits.data(), waits.size(), static_cast<int>(left)) < 0 && errno != EINTR) return false;
            if (waits[0].revents != 0) ended_at_ = clock_ms();
            if (ended_at_ > 0 && clock_ms() - ended_at_ > patience_ms) return false;
            if (waits[1].revents != 0 || clock_ms() >= until) return true;
        }
    }

    void tell(const std::string& news) override { answer({.kind = WorkerReply::Kind::news, .size = news.size()}, news); }

private:
    /// All whole frames; how many bytes they are.
    std::size_t take(std::string_view in) {
        std::size_t used = 0;
        while (in.size() >= sizeof(Frame)) {
            const auto frame = taken_from<Frame>(in);
            const std::size_t size = sizeof frame + frame.text_size + frame.id_size;
            if (in.size() < size) break;
            give(frame, in.substr(sizeof frame, frame.text_size), in.substr(sizeof frame + frame.text_size, frame.id_size));
            in.remove_prefix(size);
            used += size;
        }
        return used;
    }

    void give(const Frame& frame, std::string_view text, std::string_view id) {
        if (frame.kind == Frame::Kind::reopen) {
            driver_->flush();
            driver_->reopen();
            return;
        }
        LogLine line{.stream = frame.stream, .text = text, .time = Time{std::chrono::nanoseconds(frame.time)}};
        const PartialMark mark{.id = std::string(id), .ordinal = frame.ordinal, .last = frame.kind == Frame::Kind::last_part};
        if (frame.kind != Frame::Kind::whole) line.part = &mark;
        driver_->log(line);
    }

    /// Nobody may be there any more to hear it.
    void answer(WorkerReply reply, std::string_view text) const {
        std::string out{bytes_of(reply)};
        out += text;
        std::string_view rest = out;
        while (!rest.empty()) {
            const ssize_t sent = ::send(socket_.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
            if (sent < 0 && errno == EINTR) continue;
            if (sent <= 0) return;
            rest.remove_prefix(static_cast<std::size_t>(sent));
        }
    }

    Fd socket_;
    std::unique_ptr<LogDriver> driver_;
    std::int64_t ended_at_ = 0;
};

/// In the child; returns where it cannot.
void execute(const Fd& socket, const WorkerProgram& program) {
    const Fd spec = memory_file(program.spec, "log spec");
    // What becomes 3 must not replace what becomes 4.
    constexpr int above_the_low = 10;
    const Fd high(::fcntl(socket.get(), F_DUPFD_CLOEXEC, above_the_low));
    const Fd high_spec(::fcntl(spec.get(), F_DUPFD_CLOEXEC, above_the_low));
    if (!high || !high_spec || ::dup2(high.get(), log_program_socket) < 0 || ::dup2(high_spec.get(), log_program_spec) < 0)
        fail_errno("duplicate a descriptor");
    std::string name = "grua-log";
    std::string version = std::to_string(protocol_version);
    char* const arguments[] = {name.data(), version.data(), nullptr};
    ::execv(program.path.c_str(), arguments);
    fail_errno("execute {}", program.path);
}

}  // namespace

int run_log_worker(Fd socket, const LogWorker::Make& make) {
    Worker worker(std::move(socket));
    try {
        return worker.run(make);
    } catch (const std::exception& error) {
        worker.tell(error.what());
        return 1;
    }
}

LogWorker::LogWorker(std::string name, Work work, std::size_t bound, WhenFull when_full)
    : name_(std::move(name)), work_(std::move(work)), bound_(bound), when_full_(when_full) {
    start();
}

void LogWorker::start() noexcept {
    std::array<int, 2> ends{};
    starts_at_ = clock_ms() + pause_ms;
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) < 0) return;
    Fd ours(ends[0]);
    Fd theirs(ends[1]);
    const pid_t pid = ::fork();
    if (pid < 0) return;
    if (pid == 0) {
        // It holds nothing of what its monitor does: a mount or a pipe would not end otherwise.
        const auto kept = static_cast<unsigned>(theirs.get());
        if (kept > 3) (void)::close_range(3, kept - 1, 0);
        (void)::close_range(kept + 1, ~0U, 0);
        static_cast<void>(ours.release());
        sigset_t all;
        ::sigfillset(&all);
        ::sigprocmask(SIG_BLOCK, &all, nullptr);
        ::prctl(PR_SET_NAME, "grua-log");
        const auto* program = std::get_if<WorkerProgram>(&work_);
        if (program == nullptr) ::_exit(run_log_worker(std::move(theirs), std::get<Make>(work_)));
        ::_exit(run_log_worker(Fd(::fcntl(theirs.get(), F_DUPFD_CLOEXEC, 0)), [&](LogHost&) -> std::unique_ptr<LogDriver> {
            execute(theirs, *program);
            return nullptr;
        }));
    }
    pid_ = pid;
    socket_ = std::move(ours);
    sent_ = done_;
    shut_ = false;
    answers_.clear();
}

void LogWorker::put(std::string_view frame, std::string_view text, std::string_view id) {
    // What is done with goes when there is more of it than of the rest.
    if (done_ > block && done_ * 2 > queue_.size()) {
        queue_.erase(0, done_);
        sent_ -= done_;
        done_ = 0;
    }
    queue_ += frame;
    queue_ += text;
    queue_ += id;
}

void LogWorker::log(const LogLine& line) noexcept {
    const std::string_view id = line.part != nullptr ? std::string_view(line.part->id) : std::string_view();
    const std::size_t size = sizeof(Frame) + line.text.size() + id.size();
    if (when_full_ == WhenFull::drop && waiting() > 0 && waiting() + size > bound_) {
        if (std::exchange(tells_of_dropped_, false)) news_.push_back(name_ + ": its buffer is full, and lines are left out");
        ++dropped_;
        return;
    }
    Frame frame;
    frame.text_size = static_cast<std::uint32_t>(line.text.size());
    frame.stream = line.stream;
    frame.time = line.time.time_since_epoch().count();
    if (line.part != nullptr) {
        frame.kind = line.part->last ? Frame::Kind::last_part : Frame::Kind::part;
        frame.ordinal = line.part->ordinal;
        frame.id_size = static_cast<std::uint16_t>(id.size());
    }
    put(bytes_of(frame), line.text, id);
    if (queue_.size() - sent_ >= block) send();
}

void LogWorker::reopen() {
    Frame frame;
    frame.kind = Frame::Kind::reopen;
    put(bytes_of(frame), {}, {});
    send();
}

void LogWorker::flush() noexcept { send(); }

void LogWorker::send() noexcept {
    while (socket_ && !shut_ && sent_ < queue_.size()) {
        const ssize_t sent = ::send(socket_.get(), queue_.data() + sent_, queue_.size() - sent_, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno != EAGAIN) lose_worker();
        if (sent < 0) return;
        sent_ += static_cast<std::size_t>(sent);
    }
    if (socket_ && closing_ && !shut_) {
        (void)::shutdown(socket_.get(), SHUT_WR);
        shut_ = true;
    }
}

short LogWorker::events() const noexcept { return static_cast<short>(POLLIN | (!shut_ && sent_ < queue_.size() ? POLLOUT : 0)); }

void LogWorker::serve() noexcept {
    if (!socket_ && !closing_ && clock_ms() >= starts_at_) start();
    receive();
    send();
}

void LogWorker::receive() noexcept {
    std::array<char, 4096> bytes{};
    while (socket_) {
        const ssize_t got = ::recv(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) {
            lose_worker();
            return;
        }
        answers_.append(bytes.data(), static_cast<std::size_t>(got));
        std::string_view rest = answers_;
        take(rest);
        answers_.erase(0, answers_.size() - rest.size());
    }
}

void LogWorker::take(std::string_view& answers) {
    while (answers.size() >= sizeof(WorkerReply)) {
        const auto reply = taken_from<WorkerReply>(answers);
        if (reply.kind == WorkerReply::Kind::news && answers.size() < sizeof reply + reply.size) return;
        answers.remove_prefix(sizeof reply);
        if (reply.kind == WorkerReply::Kind::news) {
            if (news_.size() < most_news) news_.push_back(fmt::format("{}: {}", name_, answers.substr(0, reply.size)));
            answers.remove_prefix(reply.size);
            continue;
        }
        done_ += std::min<std::size_t>(reply.size, sent_ - done_);
        if (waiting() > 0) continue;
        if (!tells_of_dropped_) news_.push_back(fmt::format("{}: it has caught up; {} lines were left out in all", name_, dropped_));
        tells_of_dropped_ = true;
        queue_.clear();
        if (queue_.capacity() > block) queue_ = {};
        done_ = sent_ = 0;
    }
}

/// Its successor gets what it was not done with.
void LogWorker::lose_worker() noexcept {
    socket_ = {};
    if (!closing_) starts_at_ = clock_ms() + pause_ms;
    sent_ = done_;
}

void LogWorker::child_ended(pid_t pid) noexcept {
    if (pid == pid_) pid_ = -1;
}

void LogWorker::close() noexcept {
    closing_ = true;
    send();
}

std::vector<std::string> LogWorker::take_news() { return std::exchange(news_, {}); }

void LogWorker::wait_until_written(int timeout_ms) noexcept {
    const std::int64_t until = clock_ms() + timeout_ms;
    while (socket_ && waiting() > 0 && clock_ms() < until) {
        pollfd wait{.fd = socket_.get(), .events = events(), .revents = 0};
        (void)::poll(&wait, 1, static_cast<int>(until - clock_ms()));
        serve();
    }
}

}  // namespace grua::monitor
