#include "base/files.hpp"

#include "base/error.hpp"
#include "base/id.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace grua {
namespace {

constexpr std::string_view aside_mark = ".tmp-";
constexpr std::size_t aside_random_bytes = 8;

}  // namespace

std::string read_all(int fd, std::string_view what, std::size_t limit) {
    // By way of a buffer: a small file's text, which may be kept, takes no more than it is long.
    std::array<char, 16384> buffer;
    std::string bytes;
    for (;;) {
        const ssize_t got = ::read(fd, buffer.data(), buffer.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail_errno("read {}", what);
        if (got == 0) return bytes;
        bytes.append(buffer.data(), static_cast<std::size_t>(got));
        if (bytes.size() > limit) fail(ErrorKind::invalid_argument, "{}: larger than {} bytes", what, limit);
    }
}

std::string read_file(const std::string& path, std::size_t limit) {
    const Fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!fd && errno == ENOENT) fail(ErrorKind::not_found, "{}: no such file or directory", path);
    if (!fd) fail_errno("open {}", path);
    return read_all(fd.get(), path, limit);
}

void write_all(int fd, std::string_view bytes, std::string_view what) {
    while (!bytes.empty()) {
        const ssize_t written = ::write(fd, bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) fail_errno("write {}", what);
        bytes.remove_prefix(static_cast<std::size_t>(written));
    }
}

void write_value(const std::string& path, std::string_view value) {
    const Fd fd{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
    if (!fd) fail_errno("open {}", path);
    if (::write(fd.get(), value.data(), value.size()) < 0) fail_errno("write {:?} to {}", value, path);
}

void replace_file(const std::string& path, std::string_view bytes, mode_t mode) {
    const std::string aside = path + std::string(aside_mark) + random_hex(aside_random_bytes);
    try {
        const Fd fd{::open(aside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode)};
        if (!fd) fail_errno("create {}", aside);
        write_all(fd.get(), bytes, path);
        if (::rename(aside.c_str(), path.c_str()) != 0) fail_errno("rename {} to {}", aside, path);
    } catch (...) {
        ::unlink(aside.c_str());
        throw;
    }
}

void sweep_replacements(const std::string& directory) {
    const auto close = [](DIR* open) { ::closedir(open); };
    const std::unique_ptr<DIR, decltype(close)> entries{::opendir(directory.c_str()), close};
    if (!entries) return;
    while (const dirent* entry = ::readdir(entries.get())) {
        const std::string_view name = entry->d_name;
        const std::size_t at = name.rfind(aside_mark);
        if (at == std::string_view::npos) continue;
        const std::string_view digits = name.substr(at + aside_mark.size());
        const bool is_ours = digits.size() == 2 * aside_random_bytes && digits.find_first_not_of("0123456789abcdef") == digits.npos;
        if (is_ours) ::unlinkat(::dirfd(entries.get()), entry->d_name, 0);
    }
}

void make_directories(const std::string& path, mode_t mode) {
    for (std::size_t end = 0; end != std::string::npos;) {
        end = path.find('/', end + 1);
        const std::string part = path.substr(0, end);
        if (::mkdir(part.c_str(), mode) != 0 && errno != EEXIST) fail_errno("create folder {}", part);
    }
}

void crash_point([[maybe_unused]] const char* name) noexcept {
#ifdef GRUA_CRASH_POINTS
    const char* at = std::getenv("GRUA_CRASH_AT");
    if (at && std::strcmp(at, name) == 0) ::kill(::getpid(), SIGKILL);
#endif
}

}  // namespace grua
