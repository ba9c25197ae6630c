// Points at which a test build can be told to fail as a real call would, so that tests walk over every step that may fail.
// In every other build they are nothing.
//
// GRUA_FAIL_AT=point:ENOSPC[:count], several by comma, names the points: the first `count` visits (one where it is not said) throw
// Error(system) with that errno, "exception" in place of an errno throws what is no Error. A value "@/path" is a file that holds the
// same and is looked at in each visit, so that a test arms and disarms a running gruad; a changed text starts to count anew.
// GRUA_FAULT_TRACE=/path is a file to which each visited point is appended, a line each, which is how a test learns the points.
#pragma once

#include "base/error.hpp"

#include <string_view>

namespace grua {

/// `name` has no comma and no line feed in it; "room:step" or the name of a step. The error does not name the point: who calls says what
/// was being done, and a test shows that it did.
#ifdef GRUA_CRASH_POINTS
void fault_point(std::string_view name);
#else
constexpr void fault_point(std::string_view) noexcept {}
#endif

/// A step that is known by its name, which the error says.
inline void begin_step(std::string_view name) {
    while_doing(name, [&] { fault_point(name); });
}

}  // namespace grua
