// The words of a Dockerfile line: quotes, backslashes and $VARIABLE, as the builder's shell words have it.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::images {

/// The value of a variable, empty where it has none.
using Variable = std::function<std::string(std::string_view name)>;

/// Cuts at blanks that are neither quoted nor escaped; quotes stay in the words. Throws where a quote is not closed.
std::vector<std::string> split_words(std::string_view line);

/// Removes quotes and backslashes and puts variables in: $x, ${x}, ${x:-other}, ${x:+other}. What it gives is bounded.
std::string expand_word(std::string_view word, const Variable& variable);

}  // namespace grua::images
