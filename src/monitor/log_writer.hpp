// Writes the log of a container as Docker's json-file driver does, so that tools that read /var/lib/docker/containers/*-json.log
// read this:
//     {"log":"hello\n","stream":"stdout","time":"2026-01-02T03:04:05.678901234Z"}
// A line that is longer than 16 KiB becomes several entries of which only the last has the newline. Bytes that are not UTF-8
// become U+FFFD. All that was added is written by one write(2), so a reader never waits for half an entry, and what was
// written is never written again.
#pragma once

#include "base/fd.hpp"
#include "base/text.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace grua::monitor {

enum class Stream : std::uint8_t { standard_output = 1, standard_error = 2 };

inline constexpr std::size_t longest_line_part = std::size_t{16} << 10U;

/// Appends one entry with its newline; `part` is one line or a part of one.
void append_log_entry(std::string& out, Stream stream, std::string_view part, Time time);

struct LogLimits {
    std::int64_t max_size = 10485760;  ///< A file that has reached it is rotated before the next entry; -1: never.
    int max_files = 5;                 ///< With the one being written. 1: the file is begun anew.
};

class LogWriter {
public:
    /// An empty path makes a writer that keeps nothing. Appends to what is there.
    LogWriter(std::string path, LogLimits limits);

    /// Cuts into lines; an unfinished one is kept until it is finished, too long, or end() is called.
    void add(Stream stream, std::string_view bytes, Time time);
    /// The stream has ended: what is unfinished becomes an entry without a newline.
    void end(Stream stream, Time time);
    /// Writes what was added. Never throws: a full disk costs entries, not the container; `lost()` counts.
    void flush() noexcept;

    /// The unfinished line of a stream: in no file yet.
    std::string_view unfinished(Stream stream) const { return partial(stream); }

    /// Somebody else has renamed the file.
    void reopen();

    std::uint64_t lost() const noexcept { return lost_; }
    bool enabled() const noexcept { return !path_.empty(); }

private:
    const std::string& partial(Stream stream) const { return partial_.at(stream == Stream::standard_output ? 0 : 1); }
    std::string& partial(Stream stream) { return partial_.at(stream == Stream::standard_output ? 0 : 1); }
    void emit(Stream stream, std::string_view part, Time time);
    void rotate();

    std::string path_;
    LogLimits limits_;
    Fd file_;
    std::int64_t size_ = 0;
    std::string batch_;
    std::array<std::string, 2> partial_;
    std::uint64_t lost_ = 0;
};

}  // namespace grua::monitor
