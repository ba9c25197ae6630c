// Paths with wildcards, as a copy's source and what is removed may be: Go's filepath.Match, in which no star leads beyond a slash and **
// is no more than a star. What names have in .dockerignore is ignore_file.hpp's.
#pragma once

#include "linux/root.hpp"

#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

bool has_wildcards(std::string_view path);

/// The whole of `name`, which may have slashes. A pattern with an error in it matches nothing. The time is in proportion to the length of
/// the one times that of the other.
bool matches_wildcards(std::string_view pattern, std::string_view name);

enum class LastLink {
    follow,
    keep,  ///< A link at the path's end is what the path means.
};

/// More of them are refused, and so is what makes the search hold more names.
inline constexpr std::size_t wildcard_match_limit = 4'000'000;

/// The paths below the root that `path` means, in the order of a walk that goes through folders by name; `path` itself, cleaned, where
/// there is no wildcard in it. `links` is for the folder in front of the wildcards. Throws Error(not_found) where that folder is missing.
std::vector<std::string> expand_wildcards(const Root& root, std::string_view path, LastLink links, const std::stop_token& stop);

}  // namespace grua::build
