#include "api/query.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

#include <algorithm>

namespace grua::api {

namespace {

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

}  // namespace

std::string percent_decode(std::string_view text, bool plus_is_space) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '+' && plus_is_space) {
            out += ' ';
        } else if (text[i] == '%') {
            const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
            const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0) fail(ErrorKind::invalid_argument, "invalid URL escape \"{}\"", text.substr(i, 3));
            out += static_cast<char>(high * 16 + low);
            i += 2;
        } else {
            out += text[i];
        }
    }
    return out;
}

Query Query::parse(std::string_view text) {
    Query query;
    while (!text.empty()) {
        const std::size_t end = text.find('&');
        const std::string_view part = text.substr(0, end);
        text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
        if (part.empty()) continue;
        if (query.values_.size() == query_limit) fail(ErrorKind::invalid_argument, "more than {} query parameters", query_limit);
        const std::size_t equals = part.find('=');
        const std::string_view value = equals == std::string_view::npos ? std::string_view{} : part.substr(equals + 1);
        query.values_.emplace_back(percent_decode(part.substr(0, equals), true), percent_decode(value, true));
    }
    return query;
}

bool Query::has(std::string_view name) const noexcept {
    return std::ranges::any_of(values_, [&](const auto& value) { return value.first == name; });
}

std::string_view Query::get(std::string_view name) const noexcept {
    const auto found = std::ranges::find_if(values_, [&](const auto& value) { return value.first == name; });
    return found == values_.end() ? std::string_view{} : std::string_view{found->second};
}

std::vector<std::string> Query::all(std::string_view name) const {
    std::vector<std::string> out;
    for (const auto& [key, value] : values_) {
        if (key == name) out.push_back(value);
    }
    return out;
}

bool Query::flag(std::string_view name) const {
    const std::string value = to_lower(trim(get(name)));
    return !(value.empty() || value == "0" || value == "no" || value == "false" || value == "none");
}

bool Query::flag(std::string_view name, bool if_missing) const { return has(name) ? flag(name) : if_missing; }

std::optional<std::int64_t> Query::number(std::string_view name) const {
    const std::string_view text = get(name);
    if (text.empty()) return std::nullopt;
    const std::optional<std::int64_t> value = parse_int(text);
    if (!value) fail(ErrorKind::invalid_argument, "{}: \"{}\" is not a number", name, text);
    return value;
}

}  // namespace grua::api
