// The options of the log driver json-file, as a request or the command line gives them.
#pragma once

#include "monitor/log_writer.hpp"

#include <cstdint>
#include <map>
#include <string>

namespace grua::monitor {

/// Whoever reads a log holds each of its files open.
inline constexpr int most_log_files = 1000;

/// What `options` does not say is as in `otherwise`. Throws Error(invalid_argument) for an option that does not exist and for a value that
/// makes no sense, in Docker's words where it has some; Error(not_implemented) for what Docker has and grua has not.
LogLimits parse_log_options(const std::map<std::string, std::string>& options, const LogLimits& otherwise);

/// "10m", "1.5GB": powers of 1000, as Docker counts the size of a log. Throws Error(invalid_argument).
std::int64_t parse_log_size(const std::string& text);

}  // namespace grua::monitor
