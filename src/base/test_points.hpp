// Points at which a test build can be made to fail or to be unsafe, so that tests show what a crash leaves behind and that a
// protection is what stops an attack. In every other build they are nothing.
#pragma once

#include <string_view>

namespace grua {

/// True where the environment's GRUA_WITHOUT names this protection ("CVE-2024-21626"), in builds with GRUA_UNPROTECTED only.
#ifdef GRUA_UNPROTECTED
bool is_left_out(std::string_view protection) noexcept;
#else
constexpr bool is_left_out(std::string_view) noexcept { return false; }
#endif

}  // namespace grua
