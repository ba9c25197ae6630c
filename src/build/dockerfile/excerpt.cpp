#include "build/dockerfile/excerpt.hpp"

#include <algorithm>

namespace grua::build::dockerfile {
namespace {

constexpr std::string_view rule = "--------------------\n";
// So many lines are shown around one, and around several.
constexpr int around_one = 4;
constexpr int around_several = 2;

}  // namespace

Excerpts::Excerpts(std::string filename, std::string_view source) : filename_(std::move(filename)) {
    for (;;) {
        const std::size_t end = source.find('\n');
        lines_.push_back(source.substr(0, end));
        if (end == std::string_view::npos) return;
        source.remove_prefix(end + 1);
    }
}

std::string Excerpts::of(LineRange lines) const {
    const int count = static_cast<int>(lines_.size());
    if (lines.first < 1 || lines.first > count) return {};
    const LineRange meant{lines.first, std::clamp(lines.last, lines.first, count)};
    LineRange shown = meant;
    const int around = meant.last == meant.first ? around_one : around_several;
    for (int added = 0; added < around; ++added) {
        if (shown.first > 1) {
            --shown.first;
            ++added;
        }
        if (shown.last < count) {
            ++shown.last;
            ++added;
        }
    }
    std::string out = fmt::format("{}:{}\n{}", filename_, meant.first, rule);
    for (int number = shown.first; number <= shown.last; ++number) {
        const bool is_meant = number >= meant.first && number <= meant.last;
        out += fmt::format(" {:3} | {} {}\n", number, is_meant ? ">>>" : "   ", lines_[static_cast<std::size_t>(number) - 1]);
    }
    out += rule;
    return out;
}

}  // namespace grua::build::dockerfile
