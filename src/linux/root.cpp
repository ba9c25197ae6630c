#include "linux/root.hpp"

#include "base/error.hpp"
#include "base/test_points.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <string>

namespace grua {
namespace {

// EAGAIN means that a rename raced with the walk and the kernel could not tell whether ".." left the root.
constexpr int max_tries = 128;

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

Fd Root::make_directories(std::string_view path) const {
    if (Fd whole{open_beneath(directory_.get(), path.empty() ? "." : std::string(path).c_str(), O_PATH | O_DIRECTORY, 0)}) return whole;
    Fd parent{open_beneath(directory_.get(), ".", O_PATH | O_DIRECTORY, 0)};
    if (!parent) fail_errno("open {}", path);

    // A folder that is no link is opened in the fd of its parent, at the same cost however deep it is. Only for a link, and for
    // "..", the step is resolved from the root again, as the owner sees it.
    for (std::size_t end = 0; end < path.size();) {
        const std::size_t begin = path.find_first_not_of('/', end);
        if (begin == std::string_view::npos) break;
        end = std::min(path.find('/', begin), path.size());
        const std::string step{path.substr(begin, end - begin)};

        if (::mkdirat(parent.get(), step.c_str(), 0755) != 0 && errno != EEXIST) fail_errno("create folder {}", path.substr(0, end));
        Fd next;
        if (step != "..") next = Fd{::openat(parent.get(), step.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
        parent = next ? std::move(next) : open_at(path.substr(0, end), O_PATH | O_DIRECTORY);
    }
    return parent;
}

}  // namespace grua
