#include "monitor/log_reader.hpp"

#include "base/error.hpp"
#include "base/timespec.hpp"
#include "monitor/log_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace grua::monitor {
namespace {

constexpr std::size_t block = std::size_t{64} << 10U;
/// Where the search for the last entries is in a packed file, which has no place to be at.
constexpr std::int64_t in_archive = -2;

std::string numbered(const std::string& path, int number) { return number == 0 ? path : fmt::format("{}.{}", path, number); }

/// None where there is no such file.
Fd open_log(const std::string& path) {
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd && errno != ENOENT) fail_errno("open {}", path);
    return fd;
}

/// Entries are nearly in the order of their times: one that was long on its way has the time at which it began, and clocks are set.
constexpr std::chrono::seconds out_of_order{5};
/// So much is read rather than searched.
constexpr std::int64_t worth_searching = std::int64_t{1} << 20U;

/// The first entry that begins behind `from`: its place and its time; nothing where none is near.
std::optional<std::pair<std::int64_t, Time>> entry_behind(const Fd& file, std::int64_t from, std::size_t window, LogFormat format) {
    std::string bytes(window, '\0');
    const ssize_t got = ::pread(file.get(), bytes.data(), bytes.size(), from);
    if (got <= 0) return std::nullopt;
    bytes.resize(static_cast<std::size_t>(got));
    for (std::size_t begin = bytes.find('\n'); begin != std::string::npos;) {
        const std::size_t end = bytes.find('\n', ++begin);
        if (end == std::string::npos) break;
        if (const auto entry = parse_log_line(std::string_view(bytes).substr(begin, end - begin), format))
            return std::pair{from + static_cast<std::int64_t>(begin), entry->time};
        begin = end;
    }
    return std::nullopt;
}

/// A place in a file before which nothing is as late as `since`; found by halving, whatever its size.
std::int64_t place_before(const Fd& file, Time since, LogFormat format) {
    struct stat status{};
    if (::fstat(file.get(), &status) < 0) fail_errno("stat a log file");
    std::int64_t begin = 0;
    std::int64_t end = status.st_size;
    while (end - begin > worth_searching) {
        const std::int64_t middle = begin + (end - begin) / 2;
        auto found = entry_behind(file, middle, block, format);
        if (!found) found = entry_behind(file, middle, 2 * longest_log_line, format);
        if (found && found->second < since && found->first < end) {
            begin = found->first;
        } else {
            end = middle;
        }
    }
    return begin;
}

Time changed_at(const Fd& file) {
    struct stat status{};
    if (::fstat(file.get(), &status) < 0) fail_errno("stat a log file");
    return time_of(status.st_mtim);
}

}  // namespace

LogReader::LogReader(LogReaderOptions options) : options_(std::move(options)), files_(open_all(options_.path)) {
    if (options_.since != Time{}) {
        const Time early = options_.since - out_of_order;
        // What was written for the last time before that has nothing of it.
        while (files_.size() > 1 && changed_at(files_.front().fd) < early) files_.pop_front();
        if (!options_.tail && !files_.empty() && !files_.front().archive)
            files_.front().offset = place_before(files_.front().fd, early, options_.format);
    }
    if (options_.tail) tail_ = Tail{.left = *options_.tail, .file = files_.size()};
}

/// Packed or not; nothing where there is none of that number.
std::optional<LogReader::File> LogReader::open_numbered(const std::string& path, int number) {
    const std::string plain = numbered(path, number);
    File out;
    out.fd = open_log(plain);
    if (out.fd) {
        out.id = file_id(out.fd);
        return out;
    }
    if (number == 0) return std::nullopt;
    out.fd = open_log(plain + std::string(packed_suffix));
    if (!out.fd) return std::nullopt;
    out.archive = std::make_unique<ArchiveReader>(out.fd.get());
    // It stands for what it was made of.
    out.id = out.archive->source();
    if (out.id.inode == 0) out.id = file_id(out.fd);
    return out;
}

/// The files that there are now, the oldest first.
std::deque<LogReader::File> LogReader::open_all(const std::string& path) {
    for (;;) {
        std::deque<File> out;
        FileId newest;
        // The newest first. In the middle of a rotation one number is missing, and a file is met again under its next one.
        for (int number = 0, missing = 0; missing < 2; ++number) {
            auto file = open_numbered(path, number);
            missing = file ? 0 : missing + 1;
            if (!file) continue;
            if (number == 0) newest = file->id;
            const auto same = [&](const File& other) { return other.id == file->id; };
            if (std::ranges::none_of(out, same)) out.push_front(std::move(*file));
        }
        // Where a rotation has ended meanwhile, they may not be in order.
        if (file_id_at(path) == newest) return out;
    }
}

ssize_t LogReader::read_file(File& file, char* out, std::size_t size) {
    if (file.archive) return static_cast<ssize_t>(file.archive->read({out, size}));
    ssize_t got = 0;
    do got = ::pread(file.fd.get(), out, size, file.offset);
    while (got < 0 && errno == EINTR);
    if (got > 0) file.offset += got;
    return got;
}

/// Goes on with the search for the last entries, from the end. False where the budget is used up before it is over.
bool LogReader::search_tail() {
    while (tail_) {
        if (tail_->end == in_archive) {
            if (!search_archive()) return false;
            continue;
        }
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
            tail_->counted = 0;
            if (files_[tail_->file].archive) {
                tail_->end = in_archive;
                continue;
            }
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

/// Counts the lines of a packed file, which can be read forwards only. False where the budget is used up before it is over.
bool LogReader::search_archive() {
    Tail& tail = *tail_;
    File& file = files_[tail.file];
    std::array<char, block> bytes;
    for (;;) {
        if (budget_ == 0) return false;
        const std::size_t got = file.archive->read(bytes);
        if (got == 0) break;
        budget_ -= std::min(budget_, got);
        tail.counted += static_cast<std::uint64_t>(std::count(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(got), '\n'));
    }
    file.archive = std::make_unique<ArchiveReader>(file.fd.get());
    if (tail.counted < tail.left) {
        tail.left -= tail.counted;
        tail.end = -1;
        return true;
    }
    // None of it, where those behind it were enough.
    skip_ = tail.counted - tail.left;
    begin_at(tail.file, 0);
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
    File& file = files_.front();
    // Half an entry is read again from its beginning: its writer may have taken it back, for want of room, and written another one.
    std::size_t before = buffer_.size();
    const std::size_t half = !file.archive && before < block ? before : 0;
    if (half > 0) {
        file.offset -= static_cast<std::int64_t>(half);
        buffer_.clear();
        before = 0;
    }
    buffer_.resize(before + block);
    const ssize_t got = read_file(file, buffer_.data() + before, block);
    if (got < 0) fail_errno("read {}", options_.path);
    buffer_.resize(before + static_cast<std::size_t>(got));
    budget_ -= std::min(budget_, static_cast<std::size_t>(got));
    return static_cast<std::size_t>(got) > half || buffer_.find('\n', before) != std::string::npos;
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
    const FileId front = files_.empty() ? FileId{} : files_.front().id;
    std::deque<File> there = open_all(options_.path);
    const auto current = std::ranges::find(there, front, &File::id);
    // All of them where there was no log before, or where this one is rotated away.
    if (current != there.end()) there.erase(there.begin(), std::next(current));
    if (there.empty()) return false;  // In the middle of a rotation; the next event comes with its end.
    files_ = std::move(there);
    start_file();
    return true;
}

/// The line as an entry, where it is one that was asked for.
std::optional<LogEntry> LogReader::wanted(std::string_view line) {
    auto entry = parse_log_line(line, options_.format);
    if (!entry && !line.empty()) ++broken_;
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
            const bool too_long = std::exchange(in_long_line_, false) || line.size() > longest_log_line;
            if (skip_ > 0) {
                --skip_;
                continue;
            }
            if (too_long) ++broken_;
            if (too_long) continue;
            auto entry = wanted(line);
            if (!entry) continue;
            out = std::move(*entry);
            return Step::entry;
        }
        if (budget_ == 0) return Step::paused;
        if (fill()) continue;
        // The writer leaves a file for good before it gets a successor, so one look after that is the last.
        const FileId front = files_.empty() ? FileId{} : files_.front().id;
        const bool left = files_.size() > 1 || (options_.follow && file_id_at(options_.path) != front);
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
    broken_ = 0;
    LogSlice out;
    while (out.entries.size() < entries) {
        LogEntry entry;
        const Step done = step(entry);
        out.more = done == Step::paused;
        out.broken = broken_;
        if (done != Step::entry) return out;
        out.entries.push_back(std::move(entry));
    }
    out.more = true;
    return out;
}

}  // namespace grua::monitor
