// Reads the log of a container: Docker's json-file format, <path> and the rotated <path>.1, <path>.2 …, while the monitor
// writes and rotates it. Nothing is read twice and nothing is left out that has not been rotated away before it was reached:
// the reader holds the files it reads by descriptor and tells them by their inode.
//
// A log is a file on somebody's disk and may hold anything: a line has a bound, and slice() ends after a bounded piece of work, also
// where nothing in it is an entry that was asked for.
//
//     LogReader reader({.path = path, .tail = 10, .follow = true});
//     while (auto entry = reader.next()) …;       // then wait until the folder's files change, and again
#pragma once

#include "base/fd.hpp"
#include "base/text.hpp"

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

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
    bool use_stdout = true;
    bool use_stderr = true;
};

/// Longer lines are no entries: what a monitor writes is a tenth of it.
inline constexpr std::size_t longest_log_line = std::size_t{1} << 20U;

/// More than this without a newline is not searched for the lines before it when the last ones are looked for.
inline constexpr std::int64_t longest_gap = std::int64_t{64} << 20U;

struct LogSlice {
    std::vector<LogEntry> entries;
    bool more = false;  ///< It ended at a bound and not at the end of what there is: the next one need not wait.
};

class LogReader {
public:
    /// A log that does not exist is an empty one (with follow: until it exists).
    explicit LogReader(LogReaderOptions options);

    /// The next entry; nothing where there is none now. Without follow that is the end. Lines that are not entries are skipped.
    std::optional<LogEntry> next();

    /// At most so many entries, and not many more than `bytes` read for them.
    LogSlice slice(std::size_t entries, std::size_t bytes);

    /// True when no entry can come any more: `until` was passed, or not following and read to the end.
    bool ended() const noexcept { return ended_; }

private:
    struct File {
        Fd fd;
        std::uint64_t inode = 0;
        std::int64_t offset = 0;
    };
    /// Where the search for the last entries is.
    struct Tail {
        std::uint64_t left = 0;  // entries still to be found
        std::size_t file = 0;
        std::int64_t end = -1;  // what is before it has not been looked at; -1: the file has not been begun
        std::int64_t gap = 0;   // bytes behind `end` without a newline
        bool in_last_line = true;
    };
    enum class Step { entry, nothing, paused };

    static std::deque<File> open_all(const std::string& path);
    Step step(LogEntry& out);
    bool search_tail();
    bool search_block(File& file);
    void begin_at(std::size_t file, std::int64_t offset);
    std::optional<LogEntry> wanted(std::string_view line);
    bool fill();
    bool open_successor();
    void start_file();

    LogReaderOptions options_;
    std::deque<File> files_;  // The oldest first; the front is being read.
    std::optional<Tail> tail_;
    std::string buffer_;
    std::size_t begin_ = 0;      // Of what has not been returned in buffer_.
    bool in_long_line_ = false;  // What comes up to the next newline is the rest of what is no entry.
    std::size_t budget_ = 0;     // Bytes that may still be read now.
    bool ended_ = false;
};

/// One line of a log file; nothing where it is not an entry.
std::optional<LogEntry> parse_log_line(std::string_view line);

}  // namespace grua::monitor
