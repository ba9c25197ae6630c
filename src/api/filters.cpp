#include "api/filters.hpp"

#include "api/exchange.hpp"
#include "api/names.hpp"
#include "api/router.hpp"

#include <re2/re2.h>
#include <re2/set.h>
#include <algorithm>
#include <cctype>
#include <charconv>

namespace grua::api {

namespace {

const std::vector<std::string> none;

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

[[noreturn]] void refuse_patterns(std::string_view name) {
    fail(ErrorKind::invalid_argument, "invalid filter '{}': the regular expressions need more than {} KiB", name,
         pattern_memory_limit >> 10U);
}

}  // namespace

/// All in one machine, so that a thousand of them are one pass over the text.
class Patterns {
public:
    Patterns(std::string_view name, const std::vector<std::string>& values) : name_(name), set_(options(), RE2::UNANCHORED) {
        // What is no expression is text, which exact() has compared.
        bool any = false;
        for (const std::string& value : values) any = set_.Add(value, nullptr) >= 0 || any;
        if (!any) return;
        if (!set_.Compile()) refuse_patterns(name_);
        usable_ = true;
    }

    bool match(std::string_view text) const {
        if (!usable_) return false;
        RE2::Set::ErrorInfo error{};
        if (set_.Match({text.data(), text.size()}, nullptr, &error)) return true;
        if (error.kind == RE2::Set::kOutOfMemory) refuse_patterns(name_);
        return false;
    }

private:
    static RE2::Options options() {
        RE2::Options out;
        out.set_max_mem(pattern_memory_limit);
        out.set_log_errors(false);
        return out;
    }

    std::string name_;
    RE2::Set set_;
    bool usable_ = false;
};

Filters Filters::parse(std::string_view text, std::string_view accepted) {
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
        if (!find_name(accepted, name)) fail(ErrorKind::invalid_argument, "invalid filter '{}'", name);
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
    for (const char* name : {"id", "name"}) {
        if (filters.has(name)) filters.patterns_.emplace(name, std::make_shared<const Patterns>(name, filters.get(name)));
    }
    return filters;
}

Filters filters_of(const Exchange& exchange) { return Filters::parse(exchange.query().get("filters"), exchange.route().filters); }

bool Filters::has(std::string_view name) const { return values_.contains(name); }

const std::vector<std::string>& Filters::get(std::string_view name) const {
    const auto found = values_.find(name);
    return found == values_.end() ? none : found->second;
}

bool Filters::exact(std::string_view name, std::string_view text) const {
    return !has(name) || std::ranges::find(get(name), text) != get(name).end();
}

bool Filters::pattern(std::string_view name, std::string_view text) const {
    if (exact(name, text)) return true;
    const auto compiled = patterns_.find(name);
    return compiled != patterns_.end() && compiled->second->match(text);
}

PortFilter PortFilter::parse(const Filters& filters, std::string_view name) {
    PortFilter out;
    for (const std::string& value : filters.get(name)) {
        if (value.contains(':')) fail(ErrorKind::invalid_argument, "filter for '{}' should not contain ':': {}", name, value);
        const std::size_t slash = value.find('/');
        const std::string_view ports = std::string_view(value).substr(0, slash);
        const std::size_t dash = ports.find('-');
        const auto first = parse_uint(ports.substr(0, dash));
        const auto last = dash == ports.npos ? first : parse_uint(ports.substr(dash + 1));
        const std::string protocol = slash == value.npos ? "tcp" : to_lower(value.substr(slash + 1));
        if (!first || !last || *last > 65535 || *first > *last || (protocol != "tcp" && protocol != "udp" && protocol != "sctp"))
            fail(ErrorKind::invalid_argument,
                 "error while looking up for {} {}: invalid port, a number or a range with /tcp, /udp or /sctp is expected", name, value);
        out.ranges_.push_back({static_cast<std::uint16_t>(*first), static_cast<std::uint16_t>(*last), protocol});
    }
    return out;
}

bool PortFilter::contains(std::uint16_t port, std::string_view protocol) const {
    return std::ranges::any_of(ranges_,
                               [&](const Range& each) { return each.first <= port && port <= each.last && each.protocol == protocol; });
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

std::optional<Time> Filters::until() const {
    const std::vector<std::string>& values = get("until");
    if (values.empty()) return std::nullopt;
    if (values.size() > 1) fail(ErrorKind::invalid_argument, "more than one until filter specified");
    const auto time = parse_timestamp(values.front(), now());
    if (!time) fail(ErrorKind::invalid_argument, "failed to parse value as time or duration: \"{}\"", values.front());
    return time;
}

std::optional<bool> Filters::flag(std::string_view name) const {
    std::optional<bool> out;
    for (const std::string& value : get(name)) {
        const bool is_true = value == "1" || value == "true" || value == "True" || value == "TRUE" || value == "t" || value == "T";
        const bool is_false = value == "0" || value == "false" || value == "False" || value == "FALSE" || value == "f" || value == "F";
        if ((!is_true && !is_false) || (out && *out != is_true))
            fail(ErrorKind::invalid_argument, "invalid filter '{}=[{}]'", name, join(get(name), " "));
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
