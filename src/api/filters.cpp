#include "api/filters.hpp"

#include "api/exchange.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <regex>

namespace grua::api {

namespace {

const std::vector<std::string> none;

/// An expression longer than this is taken as text: std::regex is recursive.
constexpr std::size_t pattern_limit = 256;
constexpr std::size_t subject_limit = 1024;

/// A Go duration, "1h30m", "1.5s", as nanoseconds.
std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text) {
    if (text.empty()) return std::nullopt;
    double total = 0;
    while (!text.empty()) {
        double number = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
        if (error != std::errc{} || number < 0) return std::nullopt;
        text.remove_prefix(static_cast<std::size_t>(end - text.data()));
        std::size_t size = 0;
        while (size < text.size() && (std::isdigit(static_cast<unsigned char>(text[size])) == 0)) ++size;
        const std::string_view unit = text.substr(0, size);
        text.remove_prefix(size);
        if (unit == "h")
            total += number * 3600e9;
        else if (unit == "m")
            total += number * 60e9;
        else if (unit == "s")
            total += number * 1e9;
        else if (unit == "ms")
            total += number * 1e6;
        else if (unit == "us" || unit == "µs")
            total += number * 1e3;
        else if (unit == "ns")
            total += number;
        else
            return std::nullopt;
        if (total > 9e18) return std::nullopt;
    }
    return std::chrono::nanoseconds{static_cast<std::int64_t>(total)};
}

}  // namespace

Filters Filters::parse(std::string_view text, std::initializer_list<std::string_view> accepted) {
    Filters filters;
    if (text.empty()) return filters;
    json::Value value;
    try {
        value = parse_json(text);
    } catch (const Error& error) {
        fail(ErrorKind::invalid_argument, "invalid filter: {}", error.what());
    }
    const boost::json::object* object = value.if_object();
    if (!object) fail(ErrorKind::invalid_argument, "invalid filter: expected an object");
    std::size_t count = 0;
    for (const auto& [key, each] : *object) {
        const std::string_view name{key};
        if (std::ranges::find(accepted, name) == accepted.end()) fail(ErrorKind::invalid_argument, "invalid filter '{}'", name);
        std::vector<std::string>& values = filters.values_[std::string(name)];
        if (const auto* list = each.if_array()) {
            for (const auto& one : *list) {
                if (!one.is_string()) fail(ErrorKind::invalid_argument, "invalid filter '{}': expected strings", name);
                values.emplace_back(one.get_string());
            }
        } else if (const auto* map = each.if_object()) {
            for (const auto& [one, wanted] : *map) {
                if (wanted.is_bool() && wanted.get_bool()) values.emplace_back(one);
            }
        } else {
            fail(ErrorKind::invalid_argument, "invalid filter '{}': expected an array", name);
        }
        count += values.size();
        if (count > filter_limit) fail(ErrorKind::invalid_argument, "invalid filter: more than {} values", filter_limit);
        if (values.empty()) filters.values_.erase(std::string(name));
    }
    return filters;
}

bool Filters::has(std::string_view name) const { return values_.contains(name); }

const std::vector<std::string>& Filters::get(std::string_view name) const {
    const auto found = values_.find(name);
    return found == values_.end() ? none : found->second;
}

bool Filters::exact(std::string_view name, std::string_view text) const {
    return !has(name) || std::ranges::find(get(name), text) != get(name).end();
}

bool Filters::pattern(std::string_view name, std::string_view text) const {
    if (!has(name)) return true;
    return std::ranges::any_of(get(name), [&](const std::string& value) {
        if (text == value || text.contains(value)) return true;
        if (value.size() > pattern_limit || text.size() > subject_limit) return false;
        try {
            return std::regex_search(text.begin(), text.end(), std::regex(value));
        } catch (const std::regex_error&) {
            return false;
        }
    });
}

namespace {

bool has_label(const std::string& wanted, const std::map<std::string, std::string>& labels) {
    const std::size_t equals = wanted.find('=');
    const auto found = labels.find(wanted.substr(0, equals));
    if (found == labels.end()) return false;
    return equals == std::string::npos || found->second == std::string_view(wanted).substr(equals + 1);
}

}  // namespace

bool Filters::labels(std::string_view name, const std::map<std::string, std::string>& labels) const {
    return std::ranges::all_of(get(name), [&](const std::string& wanted) { return has_label(wanted, labels); });
}

bool Filters::no_labels(std::string_view name, const std::map<std::string, std::string>& labels) const {
    return std::ranges::none_of(get(name), [&](const std::string& wanted) { return has_label(wanted, labels); });
}

std::optional<bool> Filters::flag(std::string_view name) const {
    std::optional<bool> out;
    for (const std::string& value : get(name)) {
        const bool is_true = value == "1" || value == "true" || value == "True" || value == "TRUE" || value == "t" || value == "T";
        const bool is_false = value == "0" || value == "false" || value == "False" || value == "FALSE" || value == "f" || value == "F";
        if ((!is_true && !is_false) || (out && *out != is_true)) fail(ErrorKind::invalid_argument, "invalid filter '{}={}'", name, value);
        out = is_true;
    }
    return out;
}

std::optional<Time> parse_timestamp(std::string_view text, Time now) {
    if (text.empty()) return std::nullopt;
    if (const auto time = parse_time(text)) return time;
    if (text.find_first_not_of("0123456789.") == std::string_view::npos) {
        const std::size_t dot = text.find('.');
        const auto seconds = parse_int(text.substr(0, dot));
        std::string fraction{dot == std::string_view::npos ? "0" : text.substr(dot + 1)};
        if (!seconds || *seconds > 9'000'000'000 || fraction.empty()) return std::nullopt;
        fraction.resize(9, '0');
        const auto nanoseconds = parse_int(fraction);
        if (!nanoseconds) return std::nullopt;
        return Time{std::chrono::seconds{*seconds} + std::chrono::nanoseconds{*nanoseconds}};
    }
    if (const auto ago = parse_duration(text)) return now - *ago;
    // Dates without a zone, as people type them: this machine's are UTC.
    for (const char* rest : {"Z", ":00Z", "T00:00:00Z"}) {
        if (const auto time = parse_time(std::string(text) + rest)) return time;
    }
    return std::nullopt;
}

}  // namespace grua::api
