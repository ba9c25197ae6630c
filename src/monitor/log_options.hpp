// The options of the log drivers, as a request or the command line gives them.
#pragma once

#include "monitor/log_file.hpp"
#include "monitor/log_spec.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace grua::monitor {

/// Whoever reads a log holds each of its files open.
inline constexpr int most_log_files = 1000;

/// Of mode=non-blocking that says no size, as Docker's.
inline constexpr std::int64_t default_log_buffer = 1'000'000;

/// Sorted, as `docker info` shows them; without none.
const std::vector<std::string>& log_drivers();

/// Throws Error(not_implemented) for Docker's other drivers, and Error(invalid_argument) for what is no driver, in Docker's words.
void check_log_driver(const std::string& driver);

/// What grua makes of them that does not need the container.
struct LogSettings {
    LogLimits limits;          ///< Of json-file or local; of the cache of a driver that keeps no file.
    bool keeps_file = false;   ///< It has one, or a cache.
    std::int64_t buffer = -1;  ///< Not less than 0: mode=non-blocking.
    SyslogTarget syslog;       ///< Its host is not looked up yet.
};

/// Throws Error(invalid_argument) for an option that does not exist and for a value that makes no sense, in Docker's words where it has
/// some.
LogSettings parse_log_options(const std::string& driver, const std::map<std::string, std::string>& options);

/// Throws Error(invalid_argument) where it is a socket on this host that does not exist. Looks at the disk.
void check_log_peer(const LogSettings& settings);

/// Options that hold for whichever driver a container has: cache-disabled, cache-max-size ….
bool is_cache_option(const std::string& name);

/// "10m", "1.5GB": powers of 1000, as Docker counts the size of a log. Throws Error(invalid_argument).
std::int64_t parse_log_size(const std::string& text);

}  // namespace grua::monitor
