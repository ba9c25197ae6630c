// Sizes in bytes as people write them. One parser for options, requests and the command line.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace grua {

/// What "k" stands for: Docker counts memory by the one and logs by the other.
enum class SizeUnit : std::int64_t { of_1000 = 1000, of_1024 = 1024 };

/// "64m", "1.5GiB", "10 kb", "100". Nothing for anything else, a sign included, and for what does not fit.
std::optional<std::int64_t> parse_size(std::string_view text, SizeUnit unit) noexcept;

}  // namespace grua
