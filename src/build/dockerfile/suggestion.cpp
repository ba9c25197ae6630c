#include "build/dockerfile/suggestion.hpp"

#include "base/text.hpp"
#include "base/utf8.hpp"
#include "build/dockerfile/source.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

namespace grua::build::dockerfile {
namespace {

constexpr std::size_t edit_limit = 3;      // So many are too many.
constexpr std::size_t length_limit = 128;  // Of words that are compared.

std::vector<std::string_view> characters(std::string_view text) {
    std::vector<std::string_view> out;
    while (!text.empty()) {
        out.push_back(text.substr(0, std::max<std::size_t>(1, utf8_length(text))));
        text.remove_prefix(out.back().size());
    }
    return out;
}

/// Levenshtein's.
std::size_t distance(const std::vector<std::string_view>& one, const std::vector<std::string_view>& other) {
    std::vector<std::size_t> row(other.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < one.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i + 1;
        for (std::size_t j = 0; j < other.size(); ++j) {
            const std::size_t replaced = diagonal + (one[i] == other[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
        }
    }
    return row.back();
}

bool is_close(std::size_t one, std::size_t other) { return one < other + edit_limit && other < one + edit_limit; }

}  // namespace

std::string suggestion(std::string_view given, std::span<const std::string_view> options, Case letters) {
    if (given.size() > length_limit) return {};
    const auto shape = [&](std::string_view text) { return letters == Case::ignored ? to_lower(text) : std::string(text); };
    const std::string sought = shape(given);
    const std::vector<std::string_view> sought_characters = characters(sought);
    std::string best;
    std::size_t least = edit_limit;
    for (const std::string_view option : options) {
        if (option.size() > length_limit) continue;
        const std::string candidate = shape(option);
        if (candidate == sought) return {};
        const std::vector<std::string_view> candidate_characters = characters(candidate);
        if (!is_close(candidate_characters.size(), sought_characters.size())) continue;
        const std::size_t edits = distance(sought_characters, candidate_characters);
        if (edits >= least) continue;
        least = edits;
        best = letters == Case::ignored && given == to_upper(given) && given != to_lower(given) ? to_upper(candidate) : candidate;
    }
    return best;
}

std::string did_you_mean(std::string_view given, std::span<const std::string_view> options, Case letters) {
    const std::string found = suggestion(given, options, letters);
    return found.empty() ? std::string() : fmt::format(" (did you mean {}?)", found);
}

}  // namespace grua::build::dockerfile
