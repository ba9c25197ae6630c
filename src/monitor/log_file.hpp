// A log in files: <path>, which is written, and older ones: <path>.1, <path>.2 …, of which all but the newest may be packed (<path>.2.gz).
// All that was taken is written by one write(2), so a reader never waits for half an entry, and what was written is never written again.
// Where there is no room for all of it, the entries that have room stay; half an entry is taken back.
//
// Packing is a child process's work. It leaves <path>.packed, and whoever writes the log puts that in the place of the file that it was
// made of, which may have got another number meanwhile. One that was killed leaves a file that counts for nothing.
#pragma once

#include "base/fd.hpp"
#include "monitor/log_archive.hpp"
#include "monitor/log_formats.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace grua::monitor {

struct LogLimits {
    std::int64_t max_size = 10'000'000;  ///< A file that has reached it is rotated before the next entry; -1: never.
    int max_files = 5;                   ///< With the one being written. 1: the file is begun anew.
    bool compress = false;               ///< Those that are not written any more.
    friend bool operator==(const LogLimits&, const LogLimits&) = default;
};

class LogFile final : public LogDriver {
public:
    /// Appends to what is there. Throws Error where the file cannot be opened.
    LogFile(std::string path, LogLimits limits, LogFormat format = LogFormat::json, const LogAttributes& attributes = {});
    /// A file that is being packed is left as it is.
    ~LogFile() override;

    void log(const LogLine& line) noexcept override;
    /// A full disk costs the entries that have no room, not the container.
    void flush() noexcept override;
    void reopen() override;
    void child_ended(pid_t pid) noexcept override;
    std::uint64_t lost() const noexcept override { return lost_; }
    std::vector<std::string> take_news() override { return std::exchange(news_, {}); }
    void end() noexcept override;

private:
    std::string numbered(int number) const;
    int most_older() const { return limits_.max_files - 1; }
    std::size_t take_back_half(std::size_t done) const noexcept;
    void has_failed(int error, std::size_t done);
    void has_written();
    void rotate();
    void shift();
    void pack_next();
    void put_in_place();

    std::string path_;
    LogLimits limits_;
    LogEncoder encoder_;
    Fd file_;
    std::int64_t size_ = 0;
    std::string batch_;
    bool ends_in_half_ = false;  // The file, in half an entry.
    std::uint64_t lost_ = 0;
    std::chrono::steady_clock::time_point failed_at_;
    bool fails_ = false;
    std::vector<std::string> news_;
    pid_t packer_ = -1;
};

/// "<path>.gz", as the name of a packed file.
inline constexpr std::string_view packed_suffix = ".gz";

}  // namespace grua::monitor
