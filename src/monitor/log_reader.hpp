// Reads the log of a container: <path> and the rotated <path>.1, <path>.2 …, packed (<path>.2.gz) or not, while the monitor writes,
// rotates and packs it. Nothing is read twice and nothing is left out that has not been rotated away before it was reached:
// the reader holds the files it reads by descriptor and knows them by their identity. What is packed is unpacked on the way, into no file
// and no more memory than a block.
//
// A log is a file on somebody's disk and may hold anything: a line has a bound, and slice() ends after a bounded piece of work, also
// where nothing in it is an entry that was asked for.
//
//     LogReader reader({.path = path, .tail = 10, .follow = true});
//     while (auto entry = reader.next()) …;       // then wait until the folder's files change, and again
#pragma once

#include "base/fd.hpp"
#include "base/text.hpp"
#include "monitor/log_archive.hpp"
#include "monitor/log_formats.hpp"

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::monitor {

struct LogReaderOptions {
    std::string path;
    std::optional<std::uint64_t> tail;  ///< The last n entries; all without it.
    Time since{};                       ///< Nothing before this; the epoch: no bound.
    Time until{};                       ///< Nothing after this; the epoch: no bound.
    bool follow = false;
    bool use_stdout = true;
    bool use_stderr = true;
    LogFormat format = LogFormat::json;
};

/// Longer lines are no entries: what a monitor writes is a tenth of it.
inline constexpr std::size_t longest_log_line = std::size_t{1} << 20U;

/// More than this without a newline is not searched for the lines before it when the last ones are looked for.
inline constexpr std::int64_t longest_gap = std::int64_t{64} << 20U;

struct LogSlice {
    std::vector<LogEntry> entries;
    bool more = false;         ///< It ended at a bound and not at the end of what there is: the next one need not wait.
    std::uint64_t broken = 0;  ///< Lines that are no entries and were left out.
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
        FileId id;
        std::int64_t offset = 0;
        std::unique_ptr<ArchiveReader> archive;  // Of one that is packed: read from its beginning on only.
    };
    /// Where the search for the last entries is.
    struct Tail {
        std::uint64_t left = 0;  // entries still to be found
        std::size_t file = 0;
        std::int64_t end = -1;  // what is before it has not been looked at; -1: the file has not been begun
        std::int64_t gap = 0;   // bytes behind `end` without a newline
        bool in_last_line = true;
        std::uint64_t counted = 0;  // lines of a packed file so far
    };
    enum class Step { entry, nothing, paused };

    static std::deque<File> open_all(const std::string& path);
    Step step(LogEntry& out);
    bool search_tail();
    bool search_block(File& file);
    bool search_archive();
    void begin_at(std::size_t file, std::int64_t offset);
    static std::optional<File> open_numbered(const std::string& path, int number);
    static ssize_t read_file(File& file, char* out, std::size_t size);
    std::optional<LogEntry> wanted(std::string_view line);
    bool fill();
    bool open_successor();
    void start_file();

    LogReaderOptions options_;
    std::deque<File> files_;  // The oldest first; the front is being read.
    std::optional<Tail> tail_;
    std::string buffer_;
    std::size_t begin_ = 0;      // Of what has not been returned in buffer_.
    std::uint64_t skip_ = 0;     // Lines before the first that was asked for, in a packed file.
    bool in_long_line_ = false;  // What comes up to the next newline is the rest of what is no entry.
    std::size_t budget_ = 0;     // Bytes that may still be read now.
    std::uint64_t broken_ = 0;   // Of the slice that is being made.
    bool ended_ = false;
};

}  // namespace grua::monitor
