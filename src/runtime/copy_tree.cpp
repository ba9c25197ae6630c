// What tmpcopyup does: a folder's content, with owners and modes, in another file system.
#include "base/error.hpp"
#include "base/files.hpp"
#include "runtime/plan.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <array>

namespace grua::runtime {
namespace {

void copy_tree(int from, int to, int depth);

void copy_entry(int from, int to, const char* name, int depth) {
    struct stat about{};
    if (::fstatat(from, name, &about, AT_SYMLINK_NOFOLLOW) != 0) fail_errno("stat {}", name);
    if (S_ISDIR(about.st_mode)) {
        if (::mkdirat(to, name, 0700) != 0) fail_errno("create {}", name);
        const Fd source{::openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
        const Fd target{::openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
        if (!source || !target) fail_errno("open {}", name);
        copy_tree(source.get(), target.get(), depth + 1);
    } else if (S_ISREG(about.st_mode)) {
        const Fd source{::openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)};
        const Fd target{::openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
        if (!source || !target) fail_errno("open {}", name);
        while (true) {
            const ssize_t copied = ::copy_file_range(source.get(), nullptr, target.get(), nullptr, std::size_t{1} << 20U, 0);
            if (copied < 0) {
                write_all(target.get(), read_all(source.get(), name, std::size_t{1} << 30U), name);
                break;
            }
            if (copied == 0) break;
        }
    } else if (S_ISLNK(about.st_mode)) {
        std::array<char, 4097> text{};
        if (::readlinkat(from, name, text.data(), text.size() - 1) < 0) fail_errno("read link {}", name);
        if (::symlinkat(text.data(), to, name) != 0) fail_errno("create link {}", name);
    } else if (::mknodat(to, name, about.st_mode, about.st_rdev) != 0) {
        fail_errno("create {}", name);
    }
    if (::fchownat(to, name, about.st_uid, about.st_gid, AT_SYMLINK_NOFOLLOW) != 0) fail_errno("change the owner of {}", name);
    if (!S_ISLNK(about.st_mode) && ::fchmodat(to, name, about.st_mode & 07777U, 0) != 0) fail_errno("change the mode of {}", name);
}

void copy_tree(int from, int to, int depth) {
    if (depth > 256) fail(ErrorKind::invalid_argument, "tmpcopyup: nested too deeply");
    alignas(8) std::array<char, 32768> buffer{};
    struct Entry {
        std::uint64_t inode;
        std::int64_t offset;
        unsigned short size;
        unsigned char type;
        char name[1];
    };
    for (ssize_t got = 0; (got = ::getdents64(from, buffer.data(), buffer.size())) > 0;) {
        for (ssize_t at = 0; at < got;) {
            const auto* entry = reinterpret_cast<const Entry*>(buffer.data() + at);
            at += entry->size;
            const std::string_view name{entry->name};
            if (name != "." && name != "..") copy_entry(from, to, entry->name, depth);
        }
    }
}

}  // namespace

void copy_tree(int from, int to) { copy_tree(from, to, 0); }

}  // namespace grua::runtime
