#include "monitor/log_reader.hpp"

#include "base/codec.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace grua::monitor {
namespace {

constexpr std::size_t block = std::size_t{64} << 10U;

struct Line {
    std::string log;
    std::string stream;
    std::string time;
    template <typename Self = Line>
    static json::Fields fields() {
        return json::Fields{json::field("log", &Self::log), json::field("stream", &Self::stream), json::field("time", &Self::time)};
    }
};

std::string numbered(const std::string& path, int number) { return number == 0 ? path : fmt::format("{}.{}", path, number); }

std::uint64_t inode_of(const Fd& fd) {
    struct stat status{};
    if (::fstat(fd.get(), &status) < 0) fail_errno("stat a log file");
    return status.st_ino;
}

/// 0 where there is no such file.
std::uint64_t inode_at(const std::string& path) {
    struct stat status{};
    return ::stat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

/// None where there is no such file.
Fd open_log(const std::string& path) {
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd && errno != ENOENT) fail_errno("open {}", path);
    return fd;
}

}  // namespace

std::optional<LogEntry> parse_log_line(std::string_view text) {
    try {
        Line line = json::parse<Line>(text);
        const auto time = parse_time(line.time);
        if (!time) return std::nullopt;
        return LogEntry{.time = *time, .from_stderr = line.stream == "stderr", .text = std::move(line.log)};
    } catch (const Error&) {
        return std::nullopt;
    }
}

LogReader::LogReader(LogReaderOptions options) : options_(std::move(options)), files_(open_all(options_.path)) {
    if (options_.tail) tail_ = Tail{.left = *options_.tail, .file = files_.size()};
}

/// The files that there are now, the oldest first.
std::deque<LogReader::File> LogReader::open_all(const std::string& path) {
    for (;;) {
        std::deque<File> out;
        std::uint64_t newest = 0;
        // The newest first. In the middle of a rotation one number is missing, and a file is met again under its next one.
        for (int number = 0, missing = 0; missing < 2; ++number) {
            Fd fd = open_log(numbered(path, number));
            missing = fd ? 0 : missing + 1;
            if (!fd) continue;
            const std::uint64_t inode = inode_of(fd);
            if (number == 0) newest = inode;
            const auto same = [&](const File& file) { return file.inode == inode; };
            if (std::ranges::none_of(out, same)) out.push_front({.fd = std::move(fd), .inode = inode, .offset = 0});
        }
        // Where a rotation has ended meanwhile, they may not be in order.
        if (inode_at(path) == newest) return out;
    }
}

/// Goes on with the search for the last entries, from the end. False where the budget is used up before it is over.
bool LogReader::search_tail() {
    while (tail_) {
        if (tail_->end <= 0) {
            // The first entry of a file has no newline before it.
            if (tail_->end == 0 && !tail_->in_last_line && (tail_->left == 0 || --tail_->left == 0)) {
                begin_at(tail_->file, 0);
                break;
            }
            if (tail_->file == 0) {
                tail_.reset();  // There are not more than were asked for.
                break;
            }
            struct stat status{};
            --tail_->file;
            if (::fstat(files_[tail_->file].fd.get(), &status) < 0) fail_errno("stat a log file");
            tail_->end = status.st_size;
            tail_->gap = 0;
            tail_->in_last_line = true;
            continue;
        }
        if (budget_ == 0) return false;
        if (search_block(files_[tail_->file])) break;
    }
    return true;
}

/// Looks at the block before `end`. True where it has the beginning of the first entry that was asked for.
bool LogReader::search_block(File& file) {
    std::array<char, block> bytes;
    Tail& tail = *tail_;
    const std::int64_t start = std::max<std::int64_t>(0, tail.end - static_cast<std::int64_t>(block));
    const ssize_t got = ::pread(file.fd.get(), bytes.data(), static_cast<std::size_t>(tail.end - start), start);
    if (got < 0) fail_errno("read a log file");
    budget_ -= std::min(budget_, block);
    std::int64_t first_newline = got;
    for (std::int64_t at = got; at-- > 0;) {
        if (bytes[static_cast<std::size_t>(at)] != '\n') continue;
        first_newline = at;
        tail.gap = 0;
        // The first one that is met ends the last entry. What is behind it, if anything, is being written and follows.
        const bool is_last = std::exchange(tail.in_last_line, false);
        if (is_last && tail.left > 0) continue;
        if (!is_last && tail.left > 0) --tail.left;
        if (tail.left > 0) continue;
        begin_at(tail.file, start + at + 1);
        return true;
    }
    tail.end = start;
    tail.gap += first_newline;
    if (tail.gap < longest_gap || start == 0) return false;
    // So much is no entry, and what is before it is not worth the time that a look at all of it may take.
    begin_at(tail.file, start);
    in_long_line_ = true;
    return true;
}

void LogReader::begin_at(std::size_t file, std::int64_t offset) {
    files_[file].offset = offset;
    files_.erase(files_.begin(), files_.begin() + static_cast<std::ptrdiff_t>(file));
    tail_.reset();
}

bool LogReader::fill() {
    if (files_.empty()) return false;
    buffer_.erase(0, begin_);
    begin_ = 0;
    if (buffer_.size() > longest_log_line) in_long_line_ = true;
    if (in_long_line_) buffer_.clear();
    const std::size_t before = buffer_.size();
    File& file = files_.front();
    buffer_.resize(before + block);
    ssize_t got = 0;
    do got = ::pread(file.fd.get(), buffer_.data() + before, block, file.offset);
    while (got < 0 && errno == EINTR);
    if (got < 0) fail_errno("read {}", options_.path);
    buffer_.resize(before + static_cast<std::size_t>(got));
    file.offset += got;
    budget_ -= std::min(budget_, static_cast<std::size_t>(got));
    return got > 0;
}

void LogReader::start_file() {
    buffer_.clear();
    begin_ = 0;
    in_long_line_ = false;
}

/// Puts the file behind the front one in its place; false where there is none (yet).
bool LogReader::open_successor() {
    if (files_.size() > 1) {
        files_.pop_front();
        start_file();
        return true;
    }
    const std::uint64_t inode = files_.empty() ? 0 : files_.front().inode;
    std::deque<File> there = open_all(options_.path);
    const auto current = std::ranges::find(there, inode, &File::inode);
    // All of them where there was no log before, or where this one is rotated away.
    if (current != there.end()) there.erase(there.begin(), std::next(current));
    if (there.empty()) return false;  // In the middle of a rotation; the next event comes with its end.
    files_ = std::move(there);
    start_file();
    return true;
}

/// The line as an entry, where it is one that was asked for.
std::optional<LogEntry> LogReader::wanted(std::string_view line) {
    auto entry = parse_log_line(line);
    if (!entry || (options_.since != Time{} && entry->time < options_.since)) return std::nullopt;
    if (options_.until != Time{} && entry->time > options_.until) {
        ended_ = true;
        return std::nullopt;
    }
    if (entry->from_stderr ? !options_.use_stderr : !options_.use_stdout) return std::nullopt;
    return entry;
}

LogReader::Step LogReader::step(LogEntry& out) {
    if (!search_tail()) return Step::paused;
    while (!ended_) {
        const std::size_t newline = buffer_.find('\n', begin_);
        if (newline != std::string::npos) {
            const std::string_view line = std::string_view(buffer_).substr(begin_, newline - begin_);
            begin_ = newline + 1;
            if (std::exchange(in_long_line_, false) || line.size() > longest_log_line) continue;
            auto entry = wanted(line);
            if (!entry) continue;
            out = std::move(*entry);
            return Step::entry;
        }
        if (budget_ == 0) return Step::paused;
        if (fill()) continue;
        // The writer leaves a file for good before it gets a successor, so one look after that is the last.
        const std::uint64_t front = files_.empty() ? 0 : files_.front().inode;
        const bool left = files_.size() > 1 || (options_.follow && inode_at(options_.path) != front);
        if (left && fill()) continue;
        if (left && open_successor()) continue;
        if (!options_.follow) ended_ = true;
        break;
    }
    if (begin_ == buffer_.size()) {
        buffer_ = {};
        begin_ = 0;
    }
    return Step::nothing;
}

std::optional<LogEntry> LogReader::next() {
    budget_ = std::numeric_limits<std::size_t>::max();
    LogEntry out;
    return step(out) == Step::entry ? std::optional(std::move(out)) : std::nullopt;
}

LogSlice LogReader::slice(std::size_t entries, std::size_t bytes) {
    budget_ = bytes;
    LogSlice out;
    while (out.entries.size() < entries) {
        LogEntry entry;
        const Step done = step(entry);
        out.more = done == Step::paused;
        if (done != Step::entry) return out;
        out.entries.push_back(std::move(entry));
    }
    out.more = true;
    return out;
}

}  // namespace grua::monitor
