#include "base/test_points.hpp"

#ifdef GRUA_UNPROTECTED
#include <cstdlib>

bool grua::is_left_out(std::string_view protection) noexcept {
    const char* named = std::getenv("GRUA_WITHOUT");
    return named && protection == named;
}
#endif
