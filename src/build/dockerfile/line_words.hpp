// How the instructions of a Dockerfile cut their line into words.
#pragma once

#include "build/dockerfile/parser.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace grua::build::dockerfile::detail {

/// Two parts at the first blanks of ASCII; one where there are none.
std::vector<std::string_view> split_once(std::string_view text);

/// At all blanks of ASCII.
std::vector<std::string> fields(std::string_view text);

/// At blanks that are neither quoted nor escaped; quotes and escapes stay.
std::vector<std::string> words(std::string_view text, char escape);

/// The --flags at the front, without quotes and escapes; `text` becomes what is behind them.
std::vector<std::string> take_flags(std::string_view& text, char escape);

/// NAME=VALUE …, or NAME VALUE. `keyword` is for the texts of errors.
std::vector<KeyValue> pairs(std::string_view text, std::string_view keyword, char escape);

/// The strings of an array of JSON into `out`; false where the text is none. Throws Error for an array of something else.
bool read_json(std::string_view text, std::vector<std::string>& out);

}  // namespace grua::build::dockerfile::detail
