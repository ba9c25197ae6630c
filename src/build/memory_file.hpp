// A small document as a file, for who takes files.
#pragma once

#include "base/fd.hpp"

#include <string>

namespace grua::build {

Fd memory_file(const std::string& text);

}  // namespace grua::build
