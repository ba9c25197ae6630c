// Cuts the output of a container into lines for its log drivers. A line that is longer than 16 KiB becomes several parts, of which only the
// last ends it.
#pragma once

#include "monitor/log_driver.hpp"
#include "monitor/log_file.hpp"
#include "monitor/log_worker.hpp"

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace grua::monitor {

inline constexpr std::size_t longest_line_part = std::size_t{16} << 10U;

class LogWriter {
public:
    /// Keeps nothing.
    LogWriter() = default;
    /// One file in Docker's json-file format.
    LogWriter(std::string path, LogLimits limits);

    void add_driver(std::unique_ptr<LogDriver> driver) { drivers_.push_back(std::move(driver)); }
    void add_worker(std::unique_ptr<LogWorker> worker);

    /// An unfinished line is kept until it is finished, too long, or end() is called.
    void add(Stream stream, std::string_view bytes, Time time);
    /// The stream has ended: what is unfinished becomes an entry without a newline.
    void end(Stream stream, Time time);
    /// What was added is written, or on its way. Never throws; `lost()` counts.
    void flush() noexcept;

    /// The unfinished line of a stream: in no file yet.
    std::string_view unfinished(Stream stream) const { return of(stream).held; }

    /// Somebody else has renamed the file.
    void reopen();
    void child_ended(pid_t pid) noexcept;

    std::uint64_t lost() const noexcept;
    /// Of all drivers, what there is to tell since the last call.
    std::vector<std::string> take_news();
    bool enabled() const noexcept { return !drivers_.empty(); }

    /// Drivers that run in processes of their own: whoever waits in poll(2) waits for them, too.
    const std::vector<LogWorker*>& workers() const noexcept { return workers_; }
    /// A blocking driver takes no more now: the program has to wait.
    bool is_full() const noexcept;
    /// No more is added; see LogDriver::end().
    void end() noexcept;
    /// Drivers in processes of their own end as well once they have written what they were given.
    void close() noexcept;

private:
    struct Cut {
        std::string held;  // Of a line whose end has not come.
        PartialMark mark;
        Time since{};  // Of the first part.
        bool in_parts = false;
    };
    const Cut& of(Stream stream) const { return cut_.at(stream == Stream::standard_output ? 0 : 1); }
    Cut& of(Stream stream) { return cut_.at(stream == Stream::standard_output ? 0 : 1); }
    void emit(Stream stream, std::string_view part, Time time);
    void give(const LogLine& line) noexcept;

    std::vector<std::unique_ptr<LogDriver>> drivers_;
    std::vector<LogWorker*> workers_;
    std::array<Cut, 2> cut_;
};

}  // namespace grua::monitor
