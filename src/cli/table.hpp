// Columns as docker prints them: at least ten characters wide, three spaces between, the last column as long as it is.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace grua::cli {

/// Aligns lines whose cells are separated by tabs. A column's width is that of its longest cell in the lines around
/// that have it too, as Go's tabwriter counts it.
std::string align_columns(std::string_view text, std::size_t least_width = 10, std::size_t padding = 3);

}  // namespace grua::cli
