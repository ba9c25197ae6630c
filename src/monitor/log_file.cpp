#include "monitor/log_file.hpp"

#include "base/error.hpp"
#include "base/files.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstring>

namespace grua::monitor {
namespace {

constexpr mode_t log_mode = 0640;
constexpr int niceness = 10;
/// So long all must have been written again before that is told: room comes and goes by the page.
constexpr std::chrono::seconds settled{1};

bool exists(const std::string& path) { return ::faccessat(AT_FDCWD, path.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0; }

std::string packed(const std::string& path) { return path + std::string(packed_suffix); }

/// The child's work. Nothing of what its parent holds open stays with it, nor does it outlive its parent.
[[noreturn]] void pack(const Fd& from, const std::string& made) {
    try {
        const auto kept = static_cast<unsigned>(from.get());
        if (kept > 3) (void)::close_range(3, kept - 1, 0);
        (void)::close_range(kept + 1, ~0U, 0);
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        ::prctl(PR_SET_NAME, "grua-log-pack");
        (void)::nice(niceness);
        const std::string half = made + ".new";
        (void)::unlink(half.c_str());
        const Fd to(::open(half.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, log_mode));
        if (!to) ::_exit(1);
        make_archive(from, to);
        if (std::rename(half.c_str(), made.c_str()) < 0) ::_exit(1);
        ::_exit(0);
    } catch (const std::exception&) {
        (void)::unlink((made + ".new").c_str());
        ::_exit(1);
    }
}

}  // namespace

LogFile::LogFile(std::string path, LogLimits limits, LogFormat format, const LogAttributes& attributes)
    : path_(std::move(path)), limits_(limits), encoder_(format, attributes) {
    reopen();
    // Of one that was killed.
    if (!limits_.compress) return;
    put_in_place();
    pack_next();
}

LogFile::~LogFile() {
    if (packer_ <= 0) return;
    (void)::kill(packer_, SIGKILL);
    (void)::waitpid(packer_, nullptr, 0);
    (void)::unlink((path_ + ".packed.new").c_str());
    put_in_place();
}

std::string LogFile::numbered(int number) const { return fmt::format("{}.{}", path_, number); }

void LogFile::reopen() {
    flush();
    Fd opened(::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, log_mode));
    if (!opened) fail_errno("open {}", path_);
    struct stat status{};
    if (::fstat(opened.get(), &status) < 0) fail_errno("stat {}", path_);
    file_ = std::move(opened);
    size_ = status.st_size;
    // The host may have gone down in the middle of an entry; that one is no entry, the next one shall be.
    char last = '\n';
    ends_in_half_ = size_ > 0 && ::pread(file_.get(), &last, 1, size_ - 1) == 1 && last != '\n';
}

void LogFile::log(const LogLine& line) noexcept {
    if (limits_.max_size >= 0 && size_ + static_cast<std::int64_t>(batch_.size()) >= limits_.max_size) {
        flush();
        if (size_ > 0) rotate();
    }
    if (batch_.empty() && ends_in_half_) batch_ = "\n";
    encoder_.append(batch_, line);
}

void LogFile::flush() noexcept {
    if (batch_.empty()) return;
    std::string_view rest = batch_;
    while (!rest.empty()) {
        const ssize_t written = ::write(file_.get(), rest.data(), rest.size());
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) break;
        rest.remove_prefix(static_cast<std::size_t>(written));
    }
    const int error = errno;
    const std::size_t done = rest.empty() ? batch_.size() : take_back_half(batch_.size() - rest.size());
    size_ += static_cast<std::int64_t>(done);
    if (done > 0) ends_in_half_ = batch_[done - 1] != '\n';
    if (rest.empty()) {
        has_written();
    } else {
        has_failed(error, done);
    }
    constexpr std::size_t keep = std::size_t{32} << 10U;
    batch_.clear();
    if (batch_.capacity() > keep) batch_ = {};
}

/// Of so many bytes of the batch that are written, those that end in a whole entry.
std::size_t LogFile::take_back_half(std::size_t done) const noexcept {
    const std::size_t whole = done == 0 ? 0 : batch_.rfind('\n', done - 1) + 1;
    return ::ftruncate(file_.get(), size_ + static_cast<std::int64_t>(whole)) == 0 ? whole : done;
}

void LogFile::has_failed(int error, std::size_t done) {
    const std::string_view left = std::string_view(batch_).substr(done);
    // The newline that ends half an entry of before is no entry.
    lost_ += static_cast<std::uint64_t>(std::ranges::count(left, '\n')) - (left.front() == '\n' ? 1 : 0);
    failed_at_ = std::chrono::steady_clock::now();
    if (!std::exchange(fails_, true)) news_.push_back(fmt::format("{}: {}, and lines are left out", path_, std::strerror(error)));
}

void LogFile::has_written() {
    if (!fails_ || std::chrono::steady_clock::now() < failed_at_ + settled) return;
    fails_ = false;
    news_.push_back(fmt::format("{}: it is written again; {} lines were left out in all", path_, lost_));
}

void LogFile::end() noexcept {
    flush();
    if (std::exchange(fails_, false)) news_.push_back(fmt::format("{}: {} lines were left out in all", path_, lost_));
}

void LogFile::rotate() {
    // The new file first: where there can be none, the old one goes on.
    const std::string fresh = path_ + ".new";
    Fd opened(::open(fresh.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, log_mode));
    if (!opened) return;
    // A reader that holds the old file sees by its identity that it has a successor; so it is never truncated.
    if (most_older() > 0) shift();
    crash_point("log:rotate");
    if (std::rename(fresh.c_str(), path_.c_str()) < 0) return;
    file_ = std::move(opened);
    size_ = 0;
    ends_in_half_ = false;
    if (limits_.compress) pack_next();
}

/// Each older file gets the next number, up to the first that is free: the limit may be any.
void LogFile::shift() {
    const auto taken = [&](int number) { return exists(numbered(number)) || exists(packed(numbered(number))); };
    int last = 1;
    while (last < most_older() && taken(last)) ++last;
    (void)::unlink(numbered(last).c_str());
    (void)::unlink(packed(numbered(last)).c_str());
    const auto move = [](const std::string& from, const std::string& to) { (void)std::rename(from.c_str(), to.c_str()); };
    for (int number = last; number > 1; --number) {
        move(packed(numbered(number - 1)), packed(numbered(number)));
        move(numbered(number - 1), numbered(number));
    }
    move(path_, numbered(1));
}

/// The oldest file that is not packed yet, where none is being packed.
void LogFile::pack_next() {
    if (packer_ > 0) return;
    int oldest = 0;
    for (int number = 1; number <= most_older(); ++number) {
        const bool plain = exists(numbered(number));
        if (plain) oldest = number;
        if (!plain && !exists(packed(numbered(number)))) break;
    }
    if (oldest == 0) return;
    // Before the fork: by the time that the child runs the file may have another number.
    const Fd from(::open(numbered(oldest).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!from) return;
    const pid_t pid = ::fork();
    if (pid == 0) pack(from, path_ + ".packed");
    packer_ = pid;
}

void LogFile::child_ended(pid_t pid) noexcept {
    if (pid != packer_ || packer_ <= 0) return;
    packer_ = -1;
    const bool made = exists(path_ + ".packed");
    put_in_place();
    // Where there is no room for it, the next rotation tries again.
    if (made) pack_next();
}

void LogFile::put_in_place() {
    const std::string made = path_ + ".packed";
    const Fd archive(::open(made.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!archive) return;
    const FileId source = ArchiveReader(archive.get()).source();
    for (int number = 1; number <= most_older() && source.inode != 0; ++number) {
        const std::string plain = numbered(number);
        if (file_id_at(plain) != source) continue;
        if (std::rename(made.c_str(), packed(plain).c_str()) < 0) return;
        crash_point("log:packed");
        (void)::unlink(plain.c_str());
        return;
    }
    (void)::unlink(made.c_str());  // It has been rotated away.
}

}  // namespace grua::monitor
