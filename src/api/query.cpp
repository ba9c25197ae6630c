#include "api/query.hpp"

#include "api/names.hpp"
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
        query.values_.push_back({.name = percent_decode(part.substr(0, equals), true), .text = percent_decode(value, true)});
    }
    return query;
}

void Query::declare(std::string_view names, int minor_number) {
    declared_ = names;
    std::erase_if(values_, [&](const Value& value) {
        const auto name = find_name(names, value.name);
        return name && name->since > minor_number;
    });
}

const Query::Value* Query::find(std::string_view name, std::size_t from) const {
    if (declared_ && !find_name(*declared_, name))
        fail(ErrorKind::system, "the parameter {} is read and not in the table of operations", name);
    const auto found = std::find_if(values_.begin() + static_cast<std::ptrdiff_t>(from), values_.end(),
                                    [&](const Value& value) { return value.name == name; });
    if (found == values_.end()) return nullptr;
    found->is_read = true;
    return &*found;
}

bool Query::has(std::string_view name) const { return find(name) != nullptr; }

std::string_view Query::get(std::string_view name) const {
    const Value* found = find(name);
    return found ? std::string_view(found->text) : std::string_view{};
}

std::vector<std::string> Query::all(std::string_view name) const {
    std::vector<std::string> out;
    for (const Value* found = find(name); found; found = find(name, static_cast<std::size_t>(found - values_.data()) + 1))
        out.push_back(found->text);
    return out;
}

std::vector<std::string_view> Query::unread() const {
    std::vector<std::string_view> out;
    for (const Value& value : values_)
        if (!value.is_read) out.emplace_back(value.name);
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
