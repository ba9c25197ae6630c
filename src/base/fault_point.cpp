#include "base/fault_point.hpp"

#ifdef GRUA_CRASH_POINTS
#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/mutex.hpp"
#include "base/text.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <stdexcept>

namespace grua {
namespace {

constexpr int is_exception = -1;

struct Fault {
    int os_error = 0;
    std::uint64_t left = 1;
};

/// A point that is misspelled would test nothing, so it ends the process.
[[noreturn]] void refuse(std::string_view spec) {
    std::fprintf(stderr, "GRUA_FAIL_AT: cannot read \"%.*s\": point:ERRNO[:count]\n", static_cast<int>(spec.size()), spec.data());
    std::abort();
}

int errno_named(std::string_view name) {
    if (name == "exception") return is_exception;
    for (int number = 1; number < 200; ++number) {
        const char* known = ::strerrorname_np(number);
        if (known && name == known) return number;
    }
    return 0;
}

std::map<std::string, Fault, std::less<>> parse_faults(std::string_view spec) {
    std::map<std::string, Fault, std::less<>> faults;
    for (const std::string& each : split(spec, ',')) {
        if (trim(each).empty()) continue;
        // From the end, because names have colons of their own.
        std::vector<std::string> parts = split(trim(each), ':');
        Fault fault;
        if (const auto count = parse_uint(parts.back())) {
            fault.left = *count;
            parts.pop_back();
        }
        if (parts.size() < 2) refuse(each);
        fault.os_error = errno_named(parts.back());
        if (fault.os_error == 0) refuse(each);
        parts.pop_back();
        faults[join(parts, ":")] = fault;
    }
    return faults;
}

/// The text of GRUA_FAIL_AT, or of the file that it names; a file that is not there is nothing to fail at.
std::string spec_now() {
    const char* value = std::getenv("GRUA_FAIL_AT");
    if (!value) return {};
    if (*value != '@') return value;
    const Fd file{::open(value + 1, O_RDONLY | O_CLOEXEC)};
    if (!file) return {};
    std::array<char, 4096> buffer;
    const ssize_t size = ::read(file.get(), buffer.data(), buffer.size());
    return size > 0 ? std::string(buffer.data(), static_cast<std::size_t>(size)) : std::string{};
}

void trace(std::string_view name) {
    const char* path = std::getenv("GRUA_FAULT_TRACE");
    if (!path) return;
    const Fd file{::open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)};
    const std::string line = std::string{name} + '\n';
    // One write: the lines of several threads and processes stay whole.
    if (!file || ::write(file.get(), line.data(), line.size()) < 0) std::perror("GRUA_FAULT_TRACE");
}

/// The errno to fail with, 0 for none.
int visit(std::string_view name) {
    static Mutex mutex;
    static std::string text GRUA_GUARDED_BY(mutex);
    static std::map<std::string, Fault, std::less<>> faults GRUA_GUARDED_BY(mutex);
    std::string now = spec_now();
    const MutexLock lock{mutex};
    if (now != text) {
        faults = parse_faults(now);
        text = std::move(now);
    }
    const auto found = faults.find(name);
    if (found == faults.end() || found->second.left == 0) return 0;
    --found->second.left;
    return found->second.os_error;
}

}  // namespace

void fault_point(std::string_view name) {
    const int before = errno;
    trace(name);
    const int os_error = visit(name);
    errno = before;
    if (os_error == 0) return;
    if (os_error == is_exception) throw std::runtime_error("an exception that a test made");
    throw Error(ErrorKind::system, fmt::format("{} (made by a test)", std::generic_category().message(os_error)), os_error);
}

}  // namespace grua
#endif
