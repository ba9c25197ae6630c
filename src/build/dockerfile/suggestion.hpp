// "did you mean …?"
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace grua::build::dockerfile {

enum class Case { matters, ignored };

/// The option that is one or two edits away, in the case of `given`; empty where there is none or where one is the same.
std::string suggestion(std::string_view given, std::span<const std::string_view> options, Case letters);

/// " (did you mean x?)", or nothing.
std::string did_you_mean(std::string_view given, std::span<const std::string_view> options, Case letters = Case::matters);

}  // namespace grua::build::dockerfile
