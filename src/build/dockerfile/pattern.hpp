// The patterns of ${x#p}, ${x%p} and ${x/p/r}: * and ?, which \ makes plain.
#pragma once

#include <string>
#include <string_view>

namespace grua::build::dockerfile {

enum class Length { shortest, longest };
enum class Matches { first, all };

/// `value` without what `pattern` matches at its front. Throws Error(invalid_argument) for a pattern that is none.
std::string without_prefix(std::string_view value, std::string_view pattern, Length length);
std::string without_suffix(std::string_view value, std::string_view pattern, Length length);

/// `value` with matches, each as long as can be, replaced by `replacement` as it is.
std::string with_replaced(std::string_view value, std::string_view pattern, std::string_view replacement, Matches which);

}  // namespace grua::build::dockerfile
