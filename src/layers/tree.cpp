#include "layers/tree.hpp"

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/id.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <functional>
#include <memory>
#include <set>
#include <utility>
#include <vector>

namespace grua::layers {
namespace {

constexpr int depth_limit = 256;  // a descriptor for each
constexpr int open_folder = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

/// No link and no mount on the way: what is mounted in a container's files is not theirs.
Fd open_folder_in(int directory, const std::string& name) {
    open_how how{};
    how.flags = open_folder;
    how.resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
    return Fd{static_cast<int>(::syscall(SYS_openat2, directory, name.c_str(), &how, sizeof how))};
}

std::vector<std::string> names_in(int folder) {
    const int copy = ::fcntl(folder, F_DUPFD_CLOEXEC, 0);
    const auto close = [](DIR* open) { ::closedir(open); };
    const std::unique_ptr<DIR, decltype(close)> entries{::fdopendir(copy), close};
    if (!entries) fail_errno("read a folder");
    ::rewinddir(entries.get());
    std::vector<std::string> out;
    while (const dirent* entry = ::readdir(entries.get())) {
        const std::string name = entry->d_name;
        if (name != "." && name != "..") out.push_back(name);
    }
    return out;
}

/// What a container nests deeper is not measured.
void measure(int folder, std::uint64_t& sum, std::set<std::pair<dev_t, ino_t>>& seen, int depth) {
    for (const std::string& name : names_in(folder)) {
        struct stat status{};
        if (::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) continue;  // gone meanwhile
        if (S_ISREG(status.st_mode) && (status.st_nlink == 1 || seen.emplace(status.st_dev, status.st_ino).second)) {
            sum += static_cast<std::uint64_t>(status.st_size);
        } else if (S_ISDIR(status.st_mode) && depth < depth_limit) {
            if (const Fd below = open_folder_in(folder, name)) measure(below.get(), sum, seen, depth + 1);
        }
    }
}

struct Removal {
    int top;
    std::vector<std::string>& moved;  // names in `top`
    const std::stop_token& stop;
};

bool remove_below(const Removal& removal, int directory, const std::string& name, int depth) {
    if (removal.stop.stop_requested()) return false;
    if (::unlinkat(directory, name.c_str(), 0) == 0 || errno == ENOENT) return true;
    if (errno != EISDIR && errno != EPERM) fail_errno("remove {}", name);
    if (depth >= depth_limit) {
        std::string up = ".deep-" + random_hex(16);
        if (::renameat(directory, name.c_str(), removal.top, up.c_str()) != 0) fail_errno("move {} up", name);
        removal.moved.push_back(std::move(up));
        return true;
    }
    {
        const Fd folder = open_folder_in(directory, name);
        if (!folder && errno == EXDEV) errno = EBUSY;
        if (!folder) fail_errno("remove {}", name);
        for (const std::string& each : names_in(folder.get())) {
            if (!remove_below(removal, folder.get(), each, depth + 1)) return false;
        }
    }
    if (::unlinkat(directory, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) fail_errno("remove folder {}", name);
    return true;
}

}  // namespace

bool remove_tree(int directory, const std::string& name, const std::stop_token& stop) {
    std::vector<std::string> moved;
    bool done = remove_below({directory, moved, stop}, directory, name, 0);
    while (done && !moved.empty()) {
        const std::string next = std::move(moved.back());
        moved.pop_back();
        done = remove_below({directory, moved, stop}, directory, next, 0);
    }
    return done;
}

std::uint64_t tree_size(const std::string& path) {
    const Fd folder{::open(path.c_str(), open_folder)};
    if (!folder) fail_errno("open folder {}", path);
    std::uint64_t sum = 0;
    std::set<std::pair<dev_t, ino_t>> seen;
    measure(folder.get(), sum, seen, 0);
    return sum;
}

}  // namespace grua::layers
