// Dockerfiles as values: text is parsed into nodes, nodes into typed instructions and stages, words are expanded, and lint looks at all of
// it.
//
// Nothing here reads a file, a clock or a network. What is read is foreign: each function takes time that grows with its input and no
// faster, nests no deeper than a constant says, and refuses with SourceError, which knows the lines. The texts of errors are BuildKit's,
// since people search for them.
#pragma once

#include "base/error.hpp"

#include <string>
#include <string_view>

namespace grua::build::dockerfile {

/// Lines of a Dockerfile, counted from 1; both belong to it.
struct LineRange {
    int first = 0;
    int last = 0;

    friend bool operator==(const LineRange&, const LineRange&) = default;
};

/// A Dockerfile that is wrong.
class SourceError : public Error {
public:
    SourceError(std::string message, LineRange lines) : Error(ErrorKind::invalid_argument, std::move(message)), lines_(lines) {}

    LineRange lines() const noexcept { return lines_; }

private:
    LineRange lines_;
};

/// Runs `body`; an Error that leaves it knows its lines, `lines` where it had none.
template <typename Body>
decltype(auto) at_lines(LineRange lines, Body&& body) {
    try {
        return std::forward<Body>(body)();
    } catch (const SourceError&) {
        throw;
    } catch (const Error& error) {
        throw SourceError(error.what(), lines);
    }
}

/// The length of the white space character at the front, 0 where there is none: Unicode's White_Space, as Go has it.
std::size_t space_length(std::string_view text) noexcept;

std::string_view trim_left(std::string_view text) noexcept;
std::string_view trim(std::string_view text) noexcept;

/// In double quotes and with the escapes of Go's %q. A long text is cut.
std::string in_quotes(std::string_view text);

/// The front of a text that goes into a message.
std::string shortened(std::string_view text);

std::string to_upper(std::string_view text);

/// Go's strconv.ParseBool: 1, t, T, true, True, TRUE and their opposites.
enum class Truth { no, yes, unknown };
Truth parse_truth(std::string_view text) noexcept;

}  // namespace grua::build::dockerfile
