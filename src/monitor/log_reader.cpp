#include "monitor/log_reader.hpp"

#include "base/codec.hpp"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <algorithm>
#include <array>
#include <filesystem>

namespace grua::monitor {
namespace {

constexpr std::size_t block = std::size_t{64} << 10U;

struct Line {
    std::string log;
    std::string stream;
    std::string time;
    static constexpr auto fields() {
        return std::tuple{json::field("log", &Line::log), json::field("stream", &Line::stream), json::field("time", &Line::time)};
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

LogReader::LogReader(LogReaderOptions options) : options_(std::move(options)) {
    if (options_.follow) {
        watch_ = Fd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
        if (!watch_) fail_errno("inotify_init1");
        const std::string folder = std::filesystem::path(options_.path).parent_path().string();
        if (::inotify_add_watch(watch_.get(), folder.empty() ? "." : folder.c_str(), IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0)
            fail_errno("watch {}", folder);
    }
    files_ = open_all(options_.path);
    if (options_.tail) skip_to_tail(*options_.tail);
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

void LogReader::skip_to_tail(std::uint64_t count) {
    std::string bytes(block, '\0');
    for (std::size_t i = files_.size(); i-- > 0;) {
        File& file = files_[i];
        struct stat status{};
        if (::fstat(file.fd.get(), &status) < 0) fail_errno("stat a log file");
        std::int64_t end = status.st_size;
        bool at_end = true;
        while (end > 0) {
            const std::int64_t start = std::max<std::int64_t>(0, end - static_cast<std::int64_t>(block));
            const ssize_t got = ::pread(file.fd.get(), bytes.data(), static_cast<std::size_t>(end - start), start);
            if (got < 0) fail_errno("read a log file");
            for (std::int64_t j = got; j-- > 0;) {
                if (bytes[static_cast<std::size_t>(j)] != '\n') continue;
                if (at_end) {
                    // Ends the last entry. What is behind it, if anything, is being written and follows.
                    at_end = false;
                    if (count > 0) continue;
                }
                if (count > 0) --count;
                if (count > 0) continue;
                file.offset = start + j + 1;
                files_.erase(files_.begin(), files_.begin() + static_cast<std::ptrdiff_t>(i));
                return;
            }
            end = start;
        }
        if (at_end) continue;
        if (count > 0) --count;  // The first entry of a file has no newline before it.
        if (count > 0) continue;
        files_.erase(files_.begin(), files_.begin() + static_cast<std::ptrdiff_t>(i));
        return;
    }
}

bool LogReader::fill() {
    if (files_.empty()) return false;
    buffer_.erase(0, begin_);
    begin_ = 0;
    const std::size_t before = buffer_.size();
    File& file = files_.front();
    buffer_.resize(before + block);
    ssize_t got = 0;
    do got = ::pread(file.fd.get(), buffer_.data() + before, block, file.offset);
    while (got < 0 && errno == EINTR);
    if (got < 0) fail_errno("read {}", options_.path);
    buffer_.resize(before + static_cast<std::size_t>(got));
    file.offset += got;
    return got > 0;
}

/// Puts the file behind the front one in its place; false where there is none (yet).
bool LogReader::open_successor() {
    if (files_.size() > 1) {
        files_.pop_front();
        return true;
    }
    const std::uint64_t inode = files_.empty() ? 0 : files_.front().inode;
    std::deque<File> there = open_all(options_.path);
    const auto current = std::ranges::find(there, inode, &File::inode);
    // All of them where there was no log before, or where this one is rotated away.
    if (current != there.end()) there.erase(there.begin(), std::next(current));
    if (there.empty()) return false;  // In the middle of a rotation; the next event comes with its end.
    files_ = std::move(there);
    return true;
}

void LogReader::drain_watch() const noexcept {
    if (!watch_) return;
    alignas(inotify_event) std::array<char, 4096> events{};
    while (::read(watch_.get(), events.data(), events.size()) > 0) {
    }
}

std::optional<LogEntry> LogReader::next() {
    bool drained = false;
    while (!ended_) {
        const std::size_t newline = buffer_.find('\n', begin_);
        if (newline != std::string::npos) {
            const std::string_view line = std::string_view(buffer_).substr(begin_, newline - begin_);
            begin_ = newline + 1;
            auto entry = parse_log_line(line);
            if (!entry || (options_.since != Time{} && entry->time < options_.since)) continue;
            if (options_.until != Time{} && entry->time > options_.until) {
                ended_ = true;
                break;
            }
            return entry;
        }
        if (fill()) continue;
        // Events first, then one more look: what is written after the look makes a new event.
        if (!drained) {
            drain_watch();
            drained = true;
            continue;
        }
        // The writer leaves a file for good before it gets a successor, so one look after that is the last.
        const std::uint64_t front = files_.empty() ? 0 : files_.front().inode;
        const bool left = files_.size() > 1 || (options_.follow && inode_at(options_.path) != front);
        if (left && fill()) continue;
        if (!left || !open_successor()) {
            if (!options_.follow) ended_ = true;
            break;
        }
        buffer_.clear();
        begin_ = 0;
    }
    if (begin_ == buffer_.size()) {
        buffer_ = {};
        begin_ = 0;
    }
    return std::nullopt;
}

}  // namespace grua::monitor
