#include "base/size.hpp"

#include "base/text.hpp"

#include <limits>

namespace grua {
namespace {

constexpr std::string_view digits = "0123456789";
constexpr std::string_view powers = "kmgtp";
constexpr std::size_t most_decimals = 9;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// "", "b", "k", "kb", "kib": the power of the unit.
std::optional<std::size_t> parse_power(std::string_view suffix) {
    if (suffix.starts_with(' ')) suffix.remove_prefix(1);
    std::size_t power = 0;
    if (!suffix.empty() && powers.contains(lower(suffix.front()))) {
        power = powers.find(lower(suffix.front())) + 1;
        suffix.remove_prefix(1);
        if (suffix.size() == 2 && lower(suffix.front()) == 'i') suffix.remove_prefix(1);
    }
    if (suffix.empty() || (suffix.size() == 1 && lower(suffix.front()) == 'b')) return power;
    return std::nullopt;
}

}  // namespace

std::optional<std::int64_t> parse_size(std::string_view text, SizeUnit unit) noexcept {
    const std::size_t end_of_whole = std::min(text.find_first_not_of(digits), text.size());
    const auto whole = parse_int(text.substr(0, end_of_whole));
    std::string_view rest = text.substr(end_of_whole);
    std::string_view decimals;
    if (rest.starts_with('.')) {
        const std::size_t end = std::min(rest.find_first_not_of(digits, 1), rest.size());
        decimals = rest.substr(1, end - 1);
        rest = rest.substr(end);
        if (decimals.empty() || decimals.size() > most_decimals) return std::nullopt;
    }
    const auto power = parse_power(rest);
    if (!whole || !power) return std::nullopt;
    __extension__ using Wide = __int128;
    constexpr Wide most = std::numeric_limits<std::int64_t>::max();
    Wide factor = 1;
    for (std::size_t at = 0; at < *power; ++at) factor *= static_cast<std::int64_t>(unit);
    Wide size = *whole * factor;
    if (!decimals.empty()) {
        Wide scale = 1;
        for (std::size_t at = 0; at < decimals.size(); ++at) scale *= 10;
        size += Wide{*parse_int(decimals)} * factor / scale;
    }
    if (size > most) return std::nullopt;
    return static_cast<std::int64_t>(size);
}

}  // namespace grua
