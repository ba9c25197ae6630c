// Bounded text: splitting, numbers that are checked, times as the wire writes them.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua {

/// Splits at every `separator`; an empty text is one empty part.
std::vector<std::string> split(std::string_view text, char separator);

std::string join(const std::vector<std::string>& parts, std::string_view separator);

std::string_view trim(std::string_view text) noexcept;

std::string to_lower(std::string_view text);

/// The whole text as a decimal number; nothing where it is anything else, has a sign it may not have, or does not fit.
std::optional<std::int64_t> parse_int(std::string_view text) noexcept;
std::optional<std::uint64_t> parse_uint(std::string_view text) noexcept;

using Time = std::chrono::sys_time<std::chrono::nanoseconds>;

inline Time now() { return std::chrono::time_point_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now()); }

/// RFC 3339 with nanoseconds in UTC as Go's RFC3339Nano writes it: trailing zeros of the fraction are dropped,
/// "2026-01-02T03:04:05.6Z". Time{} (the epoch) is written as Go's zero time, "0001-01-01T00:00:00Z".
std::string format_time(Time time);

/// Accepts any RFC 3339 time with any offset; Go's zero time gives Time{}.
std::optional<Time> parse_time(std::string_view text);

/// Foreign text for a terminal: control bytes are blanks, so that it moves no cursor.
std::string printable(std::string_view text);

}  // namespace grua
