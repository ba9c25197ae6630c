// The seam between the monitor, which cuts a container's output into lines, and what keeps or sends them: a file, syslog, journald.
//
// What a driver is given: whole lines without their newline, or parts of 16 KiB of longer ones with Docker's marks; bytes, not text;
// in the order in which they were read, each stream for itself.
// What it promises: log() and flush() never throw, and what they cannot write they count as lost. One that a monitor calls itself
// takes no longer than a write to a file does. One that may wait (for a peer, say) is given to a LogWorker, which runs it in a process
// of its own: there it may take its time, and waits with LogHost::wait().
#pragma once

#include "base/text.hpp"

#include <sys/types.h>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace grua::monitor {

enum class Stream : std::uint8_t { standard_output = 1, standard_error = 2 };

/// Of a part of a line that is longer than 16 KiB, or of a last line without its newline.
struct PartialMark {
    std::string id;   ///< The same for all parts of a line.
    int ordinal = 1;  ///< From 1.
    bool last = false;
};

struct LogLine {
    Stream stream = Stream::standard_output;
    std::string_view text;              ///< Valid during the call.
    Time time{};                        ///< Of a part: the line's first part's.
    const PartialMark* part = nullptr;  ///< None: a whole line.

    /// More of this line comes, or its stream has ended: there is no newline behind it.
    bool goes_on() const noexcept { return part != nullptr && !part->last; }
};

class LogDriver {
public:
    LogDriver() = default;
    LogDriver(const LogDriver&) = delete;
    LogDriver& operator=(const LogDriver&) = delete;
    virtual ~LogDriver() = default;

    /// Takes a line; it need not be written before flush().
    virtual void log(const LogLine& line) noexcept = 0;
    virtual void flush() noexcept = 0;
    /// Somebody else has renamed its file.
    virtual void reopen() {}
    /// A child of this process has ended; it may be the driver's.
    virtual void child_ended(pid_t) noexcept {}
    /// Lines that were lost, as far as they are known.
    virtual std::uint64_t lost() const noexcept { return 0; }
    /// What there is to tell since the last call.
    virtual std::vector<std::string> take_news() { return {}; }
    /// No line follows: news that would have waited are there now.
    virtual void end() noexcept {}
};

/// Whoever runs a driver that may wait.
class LogHost {
public:
    virtual ~LogHost() = default;
    /// Until `fd` (-1: none) has one of poll(2)'s `events`, or the time is over. False where the driver shall give up.
    virtual bool wait(int fd, short events, std::chrono::milliseconds time) = 0;
    /// Once for each change: "tcp://10.0.0.1:514 is away: Connection refused".
    virtual void tell(const std::string& news) = 0;
};

}  // namespace grua::monitor
