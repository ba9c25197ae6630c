#include "monitor/log_writer.hpp"

#include "base/error.hpp"
#include "base/utf8.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cstdio>

namespace grua::monitor {
namespace {

constexpr mode_t log_mode = 0640;

void append_escaped(std::string& out, std::string_view text) {
    constexpr std::string_view digits = "0123456789abcdef";
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        const char c = text.front();
        if (length == 0) {
            out += "\\ufffd";
            text.remove_prefix(1);
            continue;
        }
        const std::string_view character = text.substr(0, length);
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (c == '\n') {
            out += "\\n";
        } else if (c == '\r') {
            out += "\\r";
        } else if (length == 1 && (static_cast<unsigned char>(c) < 0x20 || c == '<' || c == '>' || c == '&')) {
            out += "\\u00";
            out += digits[static_cast<unsigned char>(c) >> 4U];
            out += digits[static_cast<unsigned char>(c) & 15U];
        } else if (character == "\u2028" || character == "\u2029") {
            out += character == "\u2028" ? "\\u2028" : "\\u2029";
        } else {
            out += character;
        }
        text.remove_prefix(length);
    }
}

}  // namespace

void append_log_entry(std::string& out, Stream stream, std::string_view part, Time time) {
    out += R"({"log":")";
    append_escaped(out, part);
    out += stream == Stream::standard_output ? R"(","stream":"stdout","time":")" : R"(","stream":"stderr","time":")";
    out += format_time(time);
    out += "\"}\n";
}

LogWriter::LogWriter(std::string path, LogLimits limits) : path_(std::move(path)), limits_(limits) {
    if (enabled()) reopen();
}

void LogWriter::reopen() {
    if (!enabled()) return;
    flush();
    Fd opened(::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, log_mode));
    if (!opened) fail_errno("open {}", path_);
    struct stat status{};
    if (::fstat(opened.get(), &status) < 0) fail_errno("stat {}", path_);
    file_ = std::move(opened);
    size_ = status.st_size;
    // The host may have gone down in the middle of an entry; that one is no entry, the next one shall be.
    char last = '\n';
    if (size_ > 0 && ::pread(file_.get(), &last, 1, size_ - 1) == 1 && last != '\n') batch_ = "\n";
}

void LogWriter::add(Stream stream, std::string_view bytes, Time time) {
    if (!enabled()) return;
    std::string& held = partial(stream);
    while (!bytes.empty()) {
        const std::size_t room = longest_line_part - held.size();
        const std::size_t newline = bytes.substr(0, room + 1).find('\n');
        const std::size_t take = newline != std::string_view::npos ? newline + 1 : std::min(room, bytes.size());
        const bool whole = newline != std::string_view::npos || take == room;
        if (!whole) {
            held += bytes;
            return;
        }
        if (held.empty()) {
            emit(stream, bytes.substr(0, take), time);
        } else {
            held += bytes.substr(0, take);
            emit(stream, held, time);
            held.clear();
        }
        bytes.remove_prefix(take);
    }
}

void LogWriter::end(Stream stream, Time time) {
    std::string& held = partial(stream);
    if (!held.empty()) emit(stream, held, time);
    held = {};
}

void LogWriter::emit(Stream stream, std::string_view part, Time time) {
    if (limits_.max_size >= 0 && size_ + static_cast<std::int64_t>(batch_.size()) >= limits_.max_size) {
        flush();
        if (size_ > 0) rotate();
    }
    append_log_entry(batch_, stream, part, time);
}

void LogWriter::flush() noexcept {
    if (batch_.empty()) return;
    std::string_view rest = batch_;
    while (!rest.empty()) {
        const ssize_t written = ::write(file_.get(), rest.data(), rest.size());
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) {
            // No half entry stays behind: it would spoil the next one.
            (void)::ftruncate(file_.get(), size_);
            ++lost_;
            batch_.clear();
            return;
        }
        rest.remove_prefix(static_cast<std::size_t>(written));
    }
    size_ += static_cast<std::int64_t>(batch_.size());
    constexpr std::size_t keep = std::size_t{32} << 10U;
    batch_.clear();
    if (batch_.capacity() > keep) batch_ = {};
}

void LogWriter::rotate() {
    // The new file first: where there can be none, the old one goes on.
    const std::string fresh = path_ + ".new";
    Fd opened(::open(fresh.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, log_mode));
    if (!opened) return;
    // A reader that holds the old file sees by its inode that it has a successor; so it is never truncated.
    const auto numbered = [&](int number) { return fmt::format("{}.{}", path_, number); };
    // Up to the first number that is free: the limit may be any.
    int last = 1;
    while (last < limits_.max_files - 1 && ::faccessat(AT_FDCWD, numbered(last).c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0) ++last;
    for (int number = last; number > 1; --number) (void)std::rename(numbered(number - 1).c_str(), numbered(number).c_str());
    if (limits_.max_files > 1) (void)std::rename(path_.c_str(), numbered(1).c_str());
    if (std::rename(fresh.c_str(), path_.c_str()) < 0) return;
    file_ = std::move(opened);
    size_ = 0;
}

}  // namespace grua::monitor
