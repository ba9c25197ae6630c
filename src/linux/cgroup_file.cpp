#include "linux/detail/cgroup_file.hpp"

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/files.hpp"
#include "base/text.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace grua::linux::detail {

std::optional<std::string> read_cgroup_file(int directory, const char* name) {
    const Fd file{::openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
    if (!file) {
        if (errno == ENOENT) return std::nullopt;
        fail_errno("open {}", name);
    }
    return read_all(file.get(), name, std::size_t{8} << 20U);
}

std::optional<std::uint64_t> read_cgroup_number(int directory, const char* name) {
    const auto text = read_cgroup_file(directory, name);
    return text ? parse_uint(trim(*text)) : std::nullopt;
}

int try_write_cgroup_file(int directory, const char* name, std::string_view value) noexcept {
    const Fd file{::openat(directory, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW)};
    if (!file) return errno;
    ssize_t written = 0;
    do {
        written = ::write(file.get(), value.data(), value.size());
    } while (written < 0 && errno == EINTR);
    return written < 0 ? errno : 0;
}

void fail_cgroup_write(const char* name, std::string_view value, int error) {
    errno = error;
    fail_errno("write \"{}\" to {}", trim(value), name);
}

void write_cgroup_file(int directory, const char* name, std::string_view value) {
    if (const int error = try_write_cgroup_file(directory, name, value); error != 0) fail_cgroup_write(name, value, error);
}

void write_cgroup_file(int directory, const char* name, std::int64_t value) { write_cgroup_file(directory, name, std::to_string(value)); }

}  // namespace grua::linux::detail
