// A file without a name.
#pragma once

#include "base/fd.hpp"

#include <string_view>

namespace grua {

/// To be read from its beginning. `what` names it in errors and in /proc.
Fd memory_file(std::string_view bytes, const char* what);

}  // namespace grua
