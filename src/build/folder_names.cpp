#include "build/folder_names.hpp"

#include "base/error.hpp"
#include "build/tree_path.hpp"

#include <dirent.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>

namespace grua::build {
namespace {

constexpr std::size_t buffer_size = std::size_t{64} << 10U;

bool is_itself(const char* name) { return std::strcmp(name, ".") == 0 || std::strcmp(name, "..") == 0; }

}  // namespace

FolderNames::FolderNames(int folder, std::string_view path, std::size_t limit) {
    if (::lseek(folder, 0, SEEK_SET) < 0) fail_path("failed to read", path);
    std::vector<char> buffer(buffer_size);
    const std::size_t most = std::min<std::size_t>(limit, std::numeric_limits<std::uint32_t>::max());
    for (;;) {
        const long size = ::syscall(SYS_getdents64, folder, buffer.data(), buffer.size());
        if (size < 0) fail_path("failed to read", path);
        if (size == 0) break;
        for (std::size_t at = 0; at < static_cast<std::size_t>(size);) {
            dirent64 head{};
            std::memcpy(&head, buffer.data() + at, offsetof(dirent64, d_name));
            const char* name = buffer.data() + at + offsetof(dirent64, d_name);
            at += head.d_reclen;
            if (is_itself(name)) continue;
            if (bytes() > most) fail(ErrorKind::invalid_argument, "{}: too many files in it", path);
            entries_.push_back({.at = static_cast<std::uint32_t>(text_.size()), .type = head.d_type});
            text_.append(name, std::strlen(name) + 1);
        }
    }
    std::ranges::sort(entries_,
                      [this](const Entry& a, const Entry& b) { return std::strcmp(text_.data() + a.at, text_.data() + b.at) < 0; });
}

}  // namespace grua::build
