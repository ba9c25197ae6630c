#include "build/dockerfile/text_table.hpp"

#include <algorithm>
#include <string_view>

namespace grua::build::dockerfile {
namespace {

/// In characters.
std::size_t width_of(std::string_view text) {
    return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

}  // namespace

std::string TextTable::text() const {
    std::vector<std::size_t> widths;
    for (const auto& row : rows_) {
        widths.resize(std::max(widths.size(), row.size()));
        for (std::size_t at = 0; at < row.size(); ++at) widths[at] = std::max(widths[at], width_of(row[at]));
    }
    std::string out;
    for (const auto& row : rows_) {
        for (std::size_t at = 0; at < row.size(); ++at) {
            out += row[at];
            if (at + 1 < row.size()) out.append(widths[at] - width_of(row[at]) + gap_, ' ');
        }
        out += '\n';
    }
    return out;
}

}  // namespace grua::build::dockerfile
