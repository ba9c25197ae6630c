// Reads the log of a container: Docker's json-file format, <path> and the rotated <path>.1, <path>.2 …, while the monitor
// writes and rotates it. Nothing is read twice and nothing is left out that has not been rotated away before it was reached:
// the reader holds the files it reads by descriptor and tells them by their inode.
//
//     LogReader reader({.path = path, .tail = 10, .follow = true});
//     while (auto entry = reader.next()) …;       // then wait until reader.watch_fd() is readable, and again
#pragma once

#include "base/fd.hpp"
#include "base/text.hpp"

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

namespace grua::monitor {

struct LogEntry {
    Time time{};
    bool from_stderr = false;
    std::string text;  ///< With its newline; without one where the line goes on in the next entry (or the program ended).
};

struct LogReaderOptions {
    std::string path;
    std::optional<std::uint64_t> tail;  ///< The last n entries; all without it.
    Time since{};                       ///< Nothing before this; the epoch: no bound.
    Time until{};                       ///< Nothing after this; the epoch: no bound.
    bool follow = false;
};

class LogReader {
public:
    /// A log that does not exist is an empty one (with follow: until it exists).
    explicit LogReader(LogReaderOptions options);

    /// The next entry; nothing where there is none now. Without follow that is the end. Lines that are not entries are skipped.
    std::optional<LogEntry> next();

    /// Readable when next() may have more; -1 without follow. next() takes what is to be read from it.
    int watch_fd() const noexcept { return watch_.get(); }

    /// True when no entry can come any more: `until` was passed, or not following and read to the end.
    bool ended() const noexcept { return ended_; }

private:
    struct File {
        Fd fd;
        std::uint64_t inode = 0;
        std::int64_t offset = 0;
    };
    static std::deque<File> open_all(const std::string& path);
    void skip_to_tail(std::uint64_t count);
    bool fill();
    bool open_successor();
    void drain_watch() const noexcept;

    LogReaderOptions options_;
    std::deque<File> files_;  // The oldest first; the front is being read.
    std::string buffer_;
    std::size_t begin_ = 0;  // Of what has not been returned in buffer_.
    Fd watch_;
    bool ended_ = false;
};

/// One line of a log file; nothing where it is not an entry.
std::optional<LogEntry> parse_log_line(std::string_view line);

}  // namespace grua::monitor
