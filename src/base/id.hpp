// 256-bit random identifiers, 64 lowercase hex digits, as Docker gives containers, execs, networks and endpoints.
#pragma once

#include <string>
#include <string_view>

namespace grua {

/// 64 lowercase hex digits from the kernel's random source. Never all digits in its first 12 (a short ID must not look like a number).
std::string random_id();

/// True for exactly 64 lowercase hex digits.
bool is_full_id(std::string_view text) noexcept;

/// The first 12 digits, as people see an ID.
inline std::string_view short_id(std::string_view id) noexcept { return id.substr(0, 12); }

/// `size` bytes from getrandom(2), as lowercase hex.
std::string random_hex(std::size_t size);

}  // namespace grua
