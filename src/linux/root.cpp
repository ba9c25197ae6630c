#include "linux/root.hpp"

#include "base/error.hpp"
#include "base/test_points.hpp"
#include "base/text.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <array>
#include <iterator>
#include <string>
#include <vector>

namespace grua {
namespace {

// EAGAIN means that a rename raced with the walk and the kernel could not tell whether ".." left the root.
constexpr int max_tries = 128;
constexpr int most_links = 40;  // As the kernel's.

int open_beneath(int directory, const char* path, int flags, mode_t mode) {
    open_how how{};
    how.flags = static_cast<__u64>(flags | O_CLOEXEC);
    how.mode = mode;
    const bool left_out = is_left_out("CVE-2026-17106") || is_left_out("CVE-2018-15664");
    how.resolve = left_out ? 0 : RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    if (left_out && *path == '/') path = path[1] ? path + 1 : ".";  // as who joins the root's name and the path
    for (int tries = 0;; ++tries) {
        const long fd = ::syscall(SYS_openat2, directory, path, &how, sizeof how);
        if (fd >= 0 || errno != EAGAIN || tries == max_tries) return static_cast<int>(fd);
    }
}

/// The parts of a path in front of those that are there already, the first one at the end.
void push_steps(std::vector<std::string>& steps, std::string_view path) {
    std::vector<std::string> parts = split(path, '/');
    std::erase_if(parts, [](const std::string& each) { return each.empty() || each == "."; });
    steps.insert(steps.end(), std::move_iterator(parts.rbegin()), std::move_iterator(parts.rend()));
}

Fd open_or_make(int parent, const std::string& step, Root::Kind kind, std::string_view path, const Root::BeforeMaking& before) {
    const auto open = [&] { return Fd{::openat(parent, step.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)}; };
    if (Fd found = open()) return found;
    if (errno != ENOENT) fail_errno("open {}", path);
    if (before) before(parent, step);
    const int made = kind == Root::Kind::file ? ::mknodat(parent, step.c_str(), S_IFREG | 0644, 0) : ::mkdirat(parent, step.c_str(), 0755);
    if (made != 0 && errno != EEXIST) fail_errno("create {} {}", kind == Root::Kind::file ? "file" : "folder", path);
    Fd found = open();
    if (!found) fail_errno("open {}", path);
    return found;
}

std::string read_link(int link, std::string_view path) {
    std::array<char, 4096> text{};
    const ssize_t size = ::readlinkat(link, "", text.data(), text.size());
    if (size < 0) fail_errno("read link {}", path);
    return {text.data(), static_cast<std::size_t>(size)};
}

}  // namespace

Root Root::open(const char* directory) {
    Fd fd{::open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (!fd) fail_errno("open root {}", directory);
    return Root{std::move(fd)};
}

Fd Root::open_at(std::string_view path, int flags, mode_t mode) const {
    const std::string name{path.empty() ? "." : path};
    Fd fd{open_beneath(directory_.get(), name.c_str(), flags, mode)};
    if (fd) return fd;
    if (errno == ENOENT) fail(ErrorKind::not_found, "{}: no such file or directory", path);
    fail_errno("open {}", path);
}

std::optional<Fd> Root::find_at(std::string_view path, int flags) const {
    Fd fd{open_beneath(directory_.get(), std::string(path.empty() ? "." : path).c_str(), flags, 0)};
    if (fd) return fd;
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    fail_errno("open {}", path);
}

Fd Root::make(std::string_view path, Kind kind, const BeforeMaking& before) const {
    const int flags = kind == Kind::directory ? O_PATH | O_DIRECTORY : O_PATH;
    if (Fd whole{open_beneath(directory_.get(), path.empty() ? "." : std::string(path).c_str(), flags, 0)}) return whole;

    // Each step is opened in the fd of its parent and no link is left to the kernel, so that what is missing can be made at any of them.
    // ".." is the folder that the walk has come from, and thus never above the root.
    std::vector<Fd> folders;
    folders.push_back(Fd{open_beneath(directory_.get(), ".", O_PATH | O_DIRECTORY, 0)});
    if (!folders.back()) fail_errno("open {}", path);
    std::vector<std::string> steps;  // The next one is the last.
    push_steps(steps, path);
    for (int links = 0; !steps.empty();) {
        const std::string step = std::move(steps.back());
        steps.pop_back();
        if (step == "..") {
            if (folders.size() > 1) folders.pop_back();
            continue;
        }
        const bool is_file = steps.empty() && kind == Kind::file;
        Fd next = open_or_make(folders.back().get(), step, is_file ? Kind::file : Kind::directory, path, before);
        struct stat about{};
        if (::fstat(next.get(), &about) != 0) fail_errno("stat {}", path);
        if (S_ISLNK(about.st_mode)) {
            if (++links > most_links) {
                errno = ELOOP;
                fail_errno("open {}", path);
            }
            const std::string target = read_link(next.get(), path);
            if (target.starts_with('/')) folders.resize(1);
            push_steps(steps, target);
        } else if (S_ISDIR(about.st_mode)) {
            folders.push_back(std::move(next));
        } else if (is_file) {
            return next;
        } else {
            errno = ENOTDIR;
            fail_errno("create folder {}", path);
        }
    }
    return std::move(folders.back());
}

}  // namespace grua
