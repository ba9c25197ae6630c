// RFC 4648, as Go's StdEncoding and URLEncoding: with padding.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace grua::client {

std::string base64_encode(std::string_view bytes);
/// With - and _ instead of + and /, as X-Registry-Auth wants it.
std::string base64url_encode(std::string_view bytes);

/// Line ends are skipped; nothing where it is no base64.
std::optional<std::string> base64_decode(std::string_view text);

}  // namespace grua::client
