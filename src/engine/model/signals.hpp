// Signals as people write them: "TERM", "SIGTERM", "15", "RTMIN+3".
#pragma once

#include <string_view>

namespace grua::engine {

/// Throws Error(invalid_argument, "invalid signal: x").
int parse_signal(std::string_view text);

}  // namespace grua::engine
