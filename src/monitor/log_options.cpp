#include "monitor/log_options.hpp"

#include "base/error.hpp"
#include "base/size.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <array>
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
    const auto size = parse_size(text, SizeUnit::of_1000);
    // Sums of some of them fit as well.
    if (!size || *size > std::numeric_limits<std::int64_t>::max() / 2) fail(ErrorKind::invalid_argument, "invalid size: '{}'", text);
    return *size;
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
