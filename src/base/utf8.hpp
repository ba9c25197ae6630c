// What comes from outside is bytes until it has been made valid UTF-8, here and nowhere else: JSON can have nothing else, and a parser that
// meets something else takes the whole message for broken.
#pragma once

#include <string>
#include <string_view>

namespace grua {

/// The length of the character at the front of `text`, 0 where there is none (overlong, a surrogate, cut off, out of range, empty).
std::size_t utf8_length(std::string_view text) noexcept;

bool is_valid_utf8(std::string_view text) noexcept;

/// Each byte that begins no character becomes U+FFFD, as Go's encoder has it.
std::string to_valid_utf8(std::string_view text);

/// At most `limit` bytes of `text`, and no character of it cut in two. What is not UTF-8 is left as it is.
std::string_view cut_utf8(std::string_view text, std::size_t limit) noexcept;

}  // namespace grua
