// Runs a log driver in a process of its own, forked from the monitor or a program that such a fork executes: what is slow, far away or gone
// (a disk, a syslog server) then never holds the monitor. Lines wait here, and go to the worker through a socket as fast as it takes them.
// They are kept until the worker says that the driver is done with them; one that was killed is replaced, and its successor gets them
// again.
//
// A worker that blocks (mode=blocking) loses nothing: when `bound` bytes wait, is_full() says so and the monitor reads no more of the
// container's output. One that drops (mode=non-blocking) leaves out what comes then, as Docker's ring does.
//
// The worker ends with what it was given: where its monitor is killed, it still writes what it had.
#pragma once

#include "base/fd.hpp"
#include "monitor/log_driver.hpp"

#include <sys/types.h>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace grua::monitor {

/// The worker of a driver whose libraries the monitor shall not carry: log_program.hpp.
struct WorkerProgram {
    std::string path;
    std::string spec;  ///< What it is told, in JSON.
};

enum class WhenFull : std::uint8_t { wait, drop };

class LogWorker final : public LogDriver {
public:
    /// Called in the worker. What it throws ends the worker, and the next one is made a second later.
    using Make = std::function<std::unique_ptr<LogDriver>(LogHost& host)>;

    using Work = std::variant<Make, WorkerProgram>;

    /// `name` as news begin with it: "log driver syslog". A line is taken where nothing else waits, however long it is.
    LogWorker(std::string name, Work work, std::size_t bound, WhenFull when_full);
    /// What the worker has is written all the same.
    ~LogWorker() override = default;

    void log(const LogLine& line) noexcept override;
    void flush() noexcept override;
    void reopen() override;
    void child_ended(pid_t pid) noexcept override;
    /// Lines that were left out.
    std::uint64_t lost() const noexcept override { return dropped_; }

    bool is_full() const noexcept { return when_full_ == WhenFull::wait && waiting() >= bound_; }
    /// No more lines come. The worker ends when it has written all.
    void close() noexcept;
    /// All is written, or nobody is there who could.
    bool is_done() const noexcept { return !socket_ && (closing_ || waiting() == 0); }

    // For poll(2):
    int fd() const noexcept { return socket_.get(); }
    short events() const noexcept;
    void serve() noexcept;
    /// Monotonic ms at which to serve() it whatever happens; 0: none.
    std::int64_t due() const noexcept { return socket_ ? 0 : starts_at_; }

    std::vector<std::string> take_news() override;

    /// Until the worker has written all that was given to it, at most so long. For who is about to read what it writes.
    void wait_until_written(int timeout_ms) noexcept;

private:
    std::size_t waiting() const noexcept { return queue_.size() - done_; }
    void start() noexcept;
    void send() noexcept;
    void receive() noexcept;
    void take(std::string_view& answers);
    void lose_worker() noexcept;
    void put(std::string_view frame, std::string_view text, std::string_view id);

    std::string name_;
    Work work_;
    std::size_t bound_;
    WhenFull when_full_;
    Fd socket_;
    pid_t pid_ = -1;
    std::string queue_;  // Frames; before done_ they are written, before sent_ the worker has them.
    std::size_t done_ = 0;
    std::size_t sent_ = 0;
    std::string answers_;  // Of the worker, half an answer maybe.
    std::vector<std::string> news_;
    std::uint64_t dropped_ = 0;
    bool tells_of_dropped_ = true;
    bool closing_ = false;
    bool shut_ = false;
    std::int64_t starts_at_ = 0;
};

/// The worker's whole life. Exported for tests of drivers.
int run_log_worker(Fd socket, const LogWorker::Make& make);

}  // namespace grua::monitor
