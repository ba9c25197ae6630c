// Numbers, sizes and times as people write and read them, beyond base/units.hpp: "3 hours ago", 1.5GB.
#pragma once

#include "base/text.hpp"
#include "base/units.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace grua::cli {

/// A decimal number of CPUs as billionths of one. Throws Error(invalid_argument) where it is finer than that.
std::int64_t parse_cpus(std::string_view text);

/// Powers of 1000 with four significant digits: "1.234kB".
std::string human_size(double bytes, int precision = 4);
/// Powers of 1024 with four significant digits: "1.205MiB".
std::string binary_size(double bytes);

/// "Less than a second", "About a minute", "3 hours".
std::string human_duration(std::int64_t seconds);

/// "2026-01-02 15:04:05 +0000 UTC" in the local zone.
std::string local_time(std::int64_t unix_seconds);

/// For --since and --until: an RFC 3339 time, a date, a Unix time or a duration before now, as "seconds.nanoseconds".
/// Throws Error(invalid_argument).
std::string timestamp_argument(std::string_view text);

/// Cuts to `width` characters, the last being "…".
std::string ellipsis(std::string_view text, std::size_t width);

/// Characters, not bytes.
std::size_t display_width(std::string_view text);

}  // namespace grua::cli
