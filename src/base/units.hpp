// Sizes and times as people write them on a command line.
#pragma once

#include <cstdint>
#include <string_view>

namespace grua {

/// "64m", "1.5GiB", "100": bytes in powers of 1024. "-1" is itself. Throws Error(invalid_argument), `invalid size: 'x'`.
std::int64_t parse_size(std::string_view text);

/// Go's durations, "1h2m3.5s", "10ms", "0": nanoseconds. Throws Error(invalid_argument).
std::int64_t parse_duration(std::string_view text);

}  // namespace grua
