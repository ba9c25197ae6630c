#include "layers/tree.hpp"

#include "base/error.hpp"
#include "base/fd.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <functional>
#include <memory>
#include <set>
#include <utility>
#include <vector>

namespace grua::layers {
namespace {

constexpr int open_folder = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

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

void measure(int folder, std::uint64_t& sum, std::set<std::pair<dev_t, ino_t>>& seen) {
    for (const std::string& name : names_in(folder)) {
        struct stat status{};
        if (::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) continue;  // gone meanwhile
        if (S_ISREG(status.st_mode) && (status.st_nlink == 1 || seen.emplace(status.st_dev, status.st_ino).second)) {
            sum += static_cast<std::uint64_t>(status.st_size);
        } else if (S_ISDIR(status.st_mode)) {
            if (const Fd below{::openat(folder, name.c_str(), open_folder)}) measure(below.get(), sum, seen);
        }
    }
}

}  // namespace

void remove_tree(int directory, const std::string& name) {
    if (::unlinkat(directory, name.c_str(), 0) == 0 || errno == ENOENT) return;
    if (errno != EISDIR && errno != EPERM) fail_errno("remove {}", name);
    {
        const Fd folder{::openat(directory, name.c_str(), open_folder)};
        if (!folder) fail_errno("open {}", name);
        for (const std::string& each : names_in(folder.get())) remove_tree(folder.get(), each);
    }
    if (::unlinkat(directory, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) fail_errno("remove folder {}", name);
}

std::uint64_t tree_size(const std::string& path) {
    const Fd folder{::open(path.c_str(), open_folder)};
    if (!folder) fail_errno("open folder {}", path);
    std::uint64_t sum = 0;
    std::set<std::pair<dev_t, ino_t>> seen;
    measure(folder.get(), sum, seen);
    return sum;
}

}  // namespace grua::layers
