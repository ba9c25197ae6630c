#include "cli/table.hpp"

#include "base/text.hpp"
#include "cli/units.hpp"

#include <algorithm>
#include <map>

namespace grua::cli {

std::string align_columns(std::string_view text, std::size_t least_width, std::size_t padding) {
    const bool ends_with_line = text.ends_with('\n');
    std::vector<std::vector<std::string>> lines;
    for (const std::string& line : split(text, '\n')) lines.push_back(split(line, '\t'));
    if (ends_with_line && !lines.empty()) lines.pop_back();

    // widths[line][column] for each cell that a tab ends. A block is a run of lines that all have that column.
    std::vector<std::vector<std::size_t>> widths(lines.size());
    std::size_t most = 0;
    for (std::size_t i = 0; i < lines.size(); ++i) {
        widths[i].resize(lines[i].size() - 1);
        most = std::max(most, widths[i].size());
    }
    for (std::size_t column = 0; column < most; ++column) {
        for (std::size_t start = 0; start < lines.size();) {
            if (widths[start].size() <= column) {
                ++start;
                continue;
            }
            std::size_t end = start;
            std::size_t width = least_width;
            for (; end < lines.size() && widths[end].size() > column; ++end) {
                width = std::max(width, display_width(lines[end][column]) + padding);
            }
            for (std::size_t i = start; i < end; ++i) widths[i][column] = width;
            start = end;
        }
    }

    std::string out;
    for (std::size_t i = 0; i < lines.size(); ++i) {
        for (std::size_t column = 0; column < lines[i].size(); ++column) {
            out += lines[i][column];
            if (column < widths[i].size()) out.append(widths[i][column] - display_width(lines[i][column]), ' ');
        }
        if (i + 1 < lines.size() || ends_with_line) out += '\n';
    }
    return out;
}

}  // namespace grua::cli
