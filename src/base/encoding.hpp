// Bytes in the alphabets of others: base64 (RFC 4648, as Go's StdEncoding and URLEncoding: with padding) and URLs.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace grua {

std::string base64_encode(std::string_view bytes);
/// With - and _ instead of + and /, as X-Registry-Auth wants it.
std::string base64url_encode(std::string_view bytes);

/// Line ends are skipped; nothing where it is no base64.
std::optional<std::string> base64_decode(std::string_view text);

/// Either alphabet, padded or not.
std::optional<std::string> base64_decode_any(std::string_view text);

/// For a part of a URL: all but letters, digits and -_.~ (RFC 3986, 2.3).
std::string percent_encode(std::string_view text);

}  // namespace grua
