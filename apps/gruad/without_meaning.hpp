// What dockerd has and gruad has no use for: it is taken, so that a daemon.json of before works, and said in the log, with the reason.
#pragma once

#include "base/codec.hpp"
#include "base/options.hpp"

#include <span>
#include <string>
#include <string_view>

namespace grua::gruad {

struct WithoutMeaning {
    std::string_view name;  ///< Of the flag; empty: there is none.
    std::string_view key;   ///< In daemon.json.
    OptionKind kind;
    std::string_view values;  ///< The ones that ask for what gruad does anyway, separated by blanks; empty: all. Others are refused.
    std::string_view why;
};

std::span<const WithoutMeaning> without_meaning();
const WithoutMeaning* find_flag_without_meaning(std::string_view name);
const WithoutMeaning* find_key_without_meaning(std::string_view key);

/// What is to be said in the log. Throws Error(not_implemented) for a value that asks for something else.
std::string note_on(const WithoutMeaning& option, std::string_view value);
std::string note_on(const WithoutMeaning& option, const json::Value& value);

}  // namespace grua::gruad
