// What a file that comes over HTTP is called, and when it was changed. Pure.
#pragma once

#include "base/text.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace grua::build {

/// `wanted`, else what the answer's Content-Disposition says, else the last name of the URL's path, else "download". Never a path.
std::string http_file_name(std::string_view url, std::string_view wanted, std::string_view disposition);

/// Of Content-Disposition (RFC 6266); empty where it names none, or cannot be read.
std::string disposition_file_name(std::string_view disposition);

/// "Sun, 06 Nov 1994 08:49:37 GMT"
std::optional<Time> parse_http_date(std::string_view text);
std::string format_http_date(Time time);

}  // namespace grua::build
