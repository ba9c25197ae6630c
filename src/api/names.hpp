// Lists of names as the table of operations has them: "all limit size@42". Behind the @ stands the API's minor version that brought the
// name, where it is not the oldest one.
#pragma once

#include "base/text.hpp"

#include <optional>
#include <string_view>

namespace grua::api {

struct Name {
    std::string_view text;
    int since = 24;
};

/// The first name of the list, taken from it; nothing where it is empty.
inline std::optional<Name> take_name(std::string_view& list) {
    if (list.empty()) return std::nullopt;
    const std::string_view word = list.substr(0, list.find(' '));
    list.remove_prefix(std::min(word.size() + 1, list.size()));
    const std::size_t at = word.find('@');
    if (at == std::string_view::npos) return Name{.text = word};
    return Name{.text = word.substr(0, at), .since = static_cast<int>(parse_int(word.substr(at + 1)).value_or(0))};
}

inline std::optional<Name> find_name(std::string_view list, std::string_view wanted) {
    while (const auto name = take_name(list))
        if (name->text == wanted) return name;
    return std::nullopt;
}

}  // namespace grua::api
