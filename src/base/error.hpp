// How grua reports failure.
//
// A function that cannot do its job throws Error. std::optional and std::expected are for outcomes that a caller
// expects and handles on the spot: a name that may not exist, an exit code that is not there yet.
#pragma once

#include <fmt/format.h>
#include <cerrno>
#include <exception>
#include <string>
#include <string_view>
#include <system_error>

namespace grua {

/// What a failure means to the caller. The API maps it to an HTTP status, the CLI to an exit status.
enum class ErrorKind { invalid_argument, not_found, conflict, not_modified, unauthorized, forbidden, unavailable, not_implemented, system };

class Error : public std::exception {
public:
    Error(ErrorKind kind, std::string message, int os_error = 0) : kind_(kind), os_error_(os_error), message_(std::move(message)) {}

    ErrorKind kind() const noexcept { return kind_; }
    int os_error() const noexcept { return os_error_; }  ///< errno of the failed call, 0 where none failed.
    const char* what() const noexcept override { return message_.c_str(); }

    /// Puts what was being done in front: "pull alpine: layer sha256:4abc…: read: connection reset".
    void add_context(std::string_view doing) { message_.insert(0, fmt::format("{}: ", doing)); }

private:
    ErrorKind kind_;
    int os_error_;
    std::string message_;
};

template <typename... Args>
[[noreturn]] void fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
    throw Error(kind, fmt::format(format, std::forward<Args>(args)...));
}

/// For a system call that returned -1: `fail_errno("mount {} on {}", source, target)`.
template <typename... Args>
[[noreturn]] void fail_errno(fmt::format_string<Args...> format, Args&&... args) {
    const int error = errno;
    throw Error(ErrorKind::system,
                fmt::format("{}: {}", fmt::format(format, std::forward<Args>(args)...), std::generic_category().message(error)), error);
}

/// Runs `body`; an Error that leaves it says what was being done. Written once per level that adds meaning.
template <typename Body>
decltype(auto) while_doing(std::string_view doing, Body&& body) {
    try {
        return std::forward<Body>(body)();
    } catch (Error& error) {
        error.add_context(doing);
        throw;
    }
}

}  // namespace grua
