#include "monitor/log_options.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string_view>

namespace grua::monitor {
namespace {

/// Docker's json-file driver and its way to buffer have them.
constexpr std::array<std::string_view, 7> not_there{"compress", "labels", "labels-regex", "env", "env-regex", "tag", "max-buffer-size"};

int parse_file_count(const std::string& text) {
    const auto count = parse_int(text);
    if (!count) fail(ErrorKind::invalid_argument, "invalid value for the log option max-file: '{}'", text);
    if (*count < 1) fail(ErrorKind::invalid_argument, "max-file cannot be less than 1");
    if (*count > most_log_files) fail(ErrorKind::invalid_argument, "max-file cannot be more than {}", most_log_files);
    return static_cast<int>(*count);
}

}  // namespace

std::int64_t parse_log_size(const std::string& text) {
    const auto invalid = [&] { fail(ErrorKind::invalid_argument, "invalid size: '{}'", text); };
    const std::string_view all = text;
    const std::size_t end = std::min(all.find_first_not_of("0123456789."), all.size());
    const std::string_view number = all.substr(0, end);
    const std::size_t dot = std::min(number.find('.'), number.size());
    std::string unit = to_lower(trim(all.substr(end)));
    if (unit.ends_with('b')) unit.pop_back();
    const std::size_t power = unit.empty() ? 0 : std::string_view("kmgtp").find(unit) + 1;
    const auto whole = parse_int(number.substr(0, dot));
    const std::string_view fraction = number.substr(std::min(dot + 1, number.size()));
    if (unit.size() > 1 || power > 5 || !whole || fraction.size() > 9 || (dot < number.size() && !parse_uint(fraction))) invalid();
    double size = static_cast<double>(*whole);
    if (!fraction.empty()) size += static_cast<double>(*parse_uint(fraction)) / std::pow(10.0, static_cast<double>(fraction.size()));
    size *= std::pow(1000.0, static_cast<double>(power));
    if (size >= static_cast<double>(std::numeric_limits<std::int64_t>::max() / 2)) invalid();
    return static_cast<std::int64_t>(size);
}

LogLimits parse_log_options(const std::map<std::string, std::string>& options, const LogLimits& otherwise) {
    LogLimits out = otherwise;
    for (const auto& [name, value] : options) {
        if (name == "max-size") {
            out.max_size = parse_log_size(value);
            if (out.max_size <= 0) fail(ErrorKind::invalid_argument, "max-size must be a positive number");
        } else if (name == "max-file") {
            out.max_files = parse_file_count(value);
        } else if (name == "mode") {
            if (value == "non-blocking") fail(ErrorKind::not_implemented, "not implemented: the log option mode=non-blocking");
            if (!value.empty() && value != "blocking") fail(ErrorKind::invalid_argument, "logger: logging mode not supported: {}", value);
        } else if (name == "compress" && value == "false") {
            continue;
        } else if (std::ranges::find(not_there, name) != not_there.end()) {
            fail(ErrorKind::not_implemented, "not implemented: the log option {}", name);
        } else {
            fail(ErrorKind::invalid_argument, "unknown log opt '{}' for json-file log driver", name);
        }
    }
    return out;
}

}  // namespace grua::monitor
