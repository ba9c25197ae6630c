#include "grpc/status.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <array>

namespace grua::grpc {
namespace {

using namespace std::chrono_literals;

struct Pair {
    ErrorKind kind;
    Code code;
};

// The first that fits counts, in either direction.
constexpr std::array pairs{
    Pair{ErrorKind::invalid_argument, Code::invalid_argument},
    Pair{ErrorKind::not_found, Code::not_found},
    Pair{ErrorKind::conflict, Code::failed_precondition},
    Pair{ErrorKind::conflict, Code::already_exists},
    Pair{ErrorKind::unauthorized, Code::unauthenticated},
    Pair{ErrorKind::forbidden, Code::permission_denied},
    Pair{ErrorKind::unavailable, Code::unavailable},
    Pair{ErrorKind::unavailable, Code::deadline_exceeded},
    Pair{ErrorKind::unavailable, Code::cancelled},
    Pair{ErrorKind::unavailable, Code::resource_exhausted},
    Pair{ErrorKind::not_implemented, Code::unimplemented},
    Pair{ErrorKind::system, Code::unknown},
};

ErrorKind kind_of(Code code) {
    const auto* found = std::ranges::find(pairs, code, &Pair::code);
    return found != pairs.end() ? found->kind : ErrorKind::system;
}

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

struct Unit {
    char name;
    std::chrono::nanoseconds length;
};
constexpr std::array units{Unit{'n', 1ns}, Unit{'u', 1us}, Unit{'m', 1ms}, Unit{'S', 1s}, Unit{'M', 1min}, Unit{'H', 1h}};
constexpr std::size_t most_digits = 8;
constexpr std::int64_t most_of_a_unit = 99'999'999;

}  // namespace

CallError::CallError(Status status) : Error(kind_of(status.code), status.message), status_(std::move(status)) {}

Status status_of(const std::exception& error) {
    if (const auto* call = dynamic_cast<const CallError*>(&error)) return call->status();
    const auto* known = dynamic_cast<const Error*>(&error);
    const auto* found = known ? std::ranges::find(pairs, known->kind(), &Pair::kind) : pairs.end();
    return {.code = found != pairs.end() ? found->code : Code::unknown, .message = error.what(), .details = {}};
}

Code parse_code(std::string_view text) noexcept {
    const auto number = parse_uint(text);
    if (!number || *number > static_cast<std::uint64_t>(Code::unauthenticated)) return Code::unknown;
    return static_cast<Code>(*number);
}

std::string encode_message(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c >= ' ' && c <= '~' && c != '%')
            out += c;
        else
            out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
    return out;
}

std::string decode_message(std::string_view text) {
    std::string out;
    for (std::size_t at = 0; at < text.size(); ++at) {
        const int high = text[at] == '%' && at + 2 < text.size() ? hex_digit(text[at + 1]) : -1;
        const int low = high >= 0 ? hex_digit(text[at + 2]) : -1;
        if (low < 0) {
            out += text[at];
            continue;
        }
        out += static_cast<char>(high * 16 + low);
        at += 2;
    }
    return out;
}

std::optional<std::chrono::nanoseconds> parse_timeout(std::string_view text) noexcept {
    if (text.size() < 2 || text.size() > most_digits + 1) return std::nullopt;
    const auto* unit = std::ranges::find(units, text.back(), &Unit::name);
    const auto count = parse_uint(text.substr(0, text.size() - 1));
    if (unit == units.end() || !count) return std::nullopt;
    // 99,999,999 hours are more than 64 bits of nanoseconds.
    const auto most = static_cast<std::uint64_t>(std::chrono::nanoseconds::max() / unit->length);
    return unit->length * static_cast<std::int64_t>(std::min(*count, most));
}

std::string format_timeout(std::chrono::nanoseconds time) {
    time = std::max(time, 0ns);
    for (const Unit& each : units)
        if (time / each.length <= most_of_a_unit) return fmt::format("{}{}", time / each.length, each.name);
    return fmt::format("{}H", most_of_a_unit);
}

}  // namespace grua::grpc
