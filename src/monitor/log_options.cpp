#include "monitor/log_options.hpp"

#include "base/error.hpp"
#include "base/size.hpp"
#include "base/text.hpp"

#include <sys/stat.h>
#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string_view>

namespace grua::monitor {
namespace {

using Options = std::map<std::string, std::string>;

constexpr std::array<std::string_view, 6> not_there{"awslogs", "etwlogs", "fluentd", "gcplogs", "gelf", "splunk"};
/// All drivers take what says which attributes an entry has, and all take what says how they are fed and cached.
constexpr std::array<std::string_view, 5> of_attributes{"labels", "labels-regex", "env", "env-regex", "tag"};
constexpr std::array<std::string_view, 2> of_feeding{"mode", "max-buffer-size"};
constexpr std::array<std::string_view, 3> of_files{"max-size", "max-file", "compress"};
constexpr std::array<std::string_view, 7> of_syslog{"syslog-address",  "syslog-facility", "syslog-format",         "syslog-tls-ca-cert",
                                                    "syslog-tls-cert", "syslog-tls-key",  "syslog-tls-skip-verify"};
constexpr std::array<std::string_view, 20> facilities{"kern",   "user",   "mail",   "daemon",   "auth",   "syslog", "lpr",
                                                      "news",   "uucp",   "cron",   "authpriv", "ftp",    "local0", "local1",
                                                      "local2", "local3", "local4", "local5",   "local6", "local7"};
constexpr std::string_view cache_prefix = "cache-";
constexpr std::string_view cache_disabled = "cache-disabled";
constexpr std::uint16_t syslog_port = 514;
constexpr LogLimits limits_of_local{.max_size = 20 * 1024 * 1024, .max_files = 5, .compress = true};

bool is_one_of(std::string_view name, std::span<const std::string_view> names) { return std::ranges::find(names, name) != names.end(); }

const std::string* find(const Options& options, std::string_view prefix, std::string_view name) {
    const auto found = options.find(std::string(prefix) + std::string(name));
    return found == options.end() ? nullptr : &found->second;
}

/// As Go's strconv.ParseBool.
bool parse_bool(const std::string& text) {
    for (const char* each : {"1", "t", "T", "TRUE", "true", "True"})
        if (text == each) return true;
    for (const char* each : {"0", "f", "F", "FALSE", "false", "False"})
        if (text == each) return false;
    fail(ErrorKind::invalid_argument, "strconv.ParseBool: parsing \"{}\": invalid syntax", text);
}

int parse_file_count(const std::string& text) {
    const auto count = parse_int(text);
    if (!count) fail(ErrorKind::invalid_argument, "invalid value for the log option max-file: '{}'", text);
    if (*count < 1) fail(ErrorKind::invalid_argument, "max-file cannot be less than 1");
    if (*count > most_log_files) fail(ErrorKind::invalid_argument, "max-file cannot be more than {}", most_log_files);
    return static_cast<int>(*count);
}

LogLimits parse_limits(const std::string& driver, const Options& options, std::string_view prefix, LogLimits out) {
    const bool is_json = driver == "json-file";
    if (const auto* size = find(options, prefix, "max-size")) {
        out.max_size = parse_log_size(*size);
        if (is_json && out.max_size <= 0) fail(ErrorKind::invalid_argument, "max-size must be a positive number");
    }
    if (const auto* count = find(options, prefix, "max-file")) out.max_files = parse_file_count(*count);
    if (const auto* compress = find(options, prefix, "compress"))
        out.compress = while_doing("invalid boolean value for compress", [&] { return parse_bool(*compress); });
    if (!out.compress || out.max_files > 1) return out;
    fail(ErrorKind::invalid_argument, "{}",
         is_json ? "compress cannot be true when max-file is less than 2 or max-size is not set"
                 : "compression cannot be enabled when max file count is 1");
}

std::int64_t parse_buffer(const Options& options) {
    const std::string* mode = find(options, "", "mode");
    const std::string* size = find(options, "", "max-buffer-size");
    const bool drops = mode != nullptr && *mode == "non-blocking";
    if (mode != nullptr && !drops && !mode->empty() && *mode != "blocking")
        fail(ErrorKind::invalid_argument, "logger: logging mode not supported: {}", *mode);
    if (size == nullptr) return drops ? default_log_buffer : -1;
    if (!drops) fail(ErrorKind::invalid_argument, "logger: max-buffer-size option is only supported with 'mode=non-blocking'");
    const auto bytes = parse_size(*size, SizeUnit::of_1024);
    if (!bytes) fail(ErrorKind::invalid_argument, "error parsing option max-buffer-size: invalid size: '{}'", *size);
    return *bytes;
}

int parse_facility(const std::string& text) {
    if (text.empty()) return 3;  // daemon
    const auto found = std::ranges::find(facilities, text);
    // Four numbers have no name between ftp and local0.
    const auto index = static_cast<int>(found - facilities.begin());
    if (found != facilities.end()) return index < 12 ? index : index + 4;
    const auto number = parse_int(text);
    if (!number || *number < 0 || *number > 23) fail(ErrorKind::invalid_argument, "invalid syslog facility");
    return static_cast<int>(*number);
}

void parse_host(std::string_view text, SyslogTarget& out) {
    // What stands behind it says nothing here.
    text = text.substr(0, text.find_first_of("/?#"));
    std::string_view port;
    if (text.starts_with('[')) {
        const std::size_t end = text.find(']');
        if (end == std::string_view::npos) fail(ErrorKind::invalid_argument, "missing ']' in address {}", text);
        port = text.substr(end + 1);
        text = text.substr(1, end - 1);
    } else if (const std::size_t colon = text.rfind(':'); colon != std::string_view::npos) {
        port = text.substr(colon);
        text = text.substr(0, colon);
        if (text.contains(':')) fail(ErrorKind::invalid_argument, "too many colons in address {}", text);
    }
    out.host = text.empty() ? "localhost" : std::string(text);
    out.port = syslog_port;
    if (port.empty()) return;
    const auto number = parse_uint(port.substr(1));
    if (port.front() != ':' || !number || *number == 0 || *number > 65535)
        fail(ErrorKind::invalid_argument, "invalid port \"{}\" after host", port);
    out.port = static_cast<std::uint16_t>(*number);
}

void parse_address(const std::string& address, SyslogTarget& out) {
    if (address.empty()) return;
    const std::size_t colon = address.find(':');
    const std::string scheme = colon == std::string::npos ? "" : to_lower(address.substr(0, colon));
    const bool has_host = colon != std::string::npos && std::string_view(address).substr(colon).starts_with("://");
    if (!has_host || (scheme != "udp" && scheme != "tcp" && scheme != "tcp+tls" && scheme != "unix" && scheme != "unixgram"))
        fail(ErrorKind::invalid_argument, "unsupported scheme: '{}'", scheme);
    out.network = scheme;
    const std::string rest = address.substr(colon + 3);
    if (!scheme.starts_with("unix")) {
        parse_host(rest, out);
        return;
    }
    out.addresses = {rest};
}

SyslogTarget parse_syslog(const Options& options) {
    const auto value = [&](std::string_view name) {
        const std::string* found = find(options, "", name);
        return found == nullptr ? std::string() : *found;
    };
    SyslogTarget out;
    parse_address(value("syslog-address"), out);
    out.facility = parse_facility(value("syslog-facility"));
    out.format = value("syslog-format");
    for (const std::string_view each : {"", "rfc3164", "rfc5424", "rfc5424micro"})
        if (out.format == each) {
            out.ca_file = value("syslog-tls-ca-cert");
            out.certificate_file = value("syslog-tls-cert");
            out.key_file = value("syslog-tls-key");
            // Docker's too holds by being there.
            out.skip_verify = options.contains("syslog-tls-skip-verify");
            return out;
        }
    fail(ErrorKind::invalid_argument, "Invalid syslog format");
}

void check_names(const std::string& driver, const Options& options) {
    const bool has_files = driver == "json-file" || driver == "local";
    for (const auto& [name, value] : options) {
        if (is_one_of(name, of_attributes) || is_one_of(name, of_feeding) || is_cache_option(name)) continue;
        if (has_files && is_one_of(name, of_files)) continue;
        if (driver == "syslog" && is_one_of(name, of_syslog)) continue;
        if (driver == "local") fail(ErrorKind::invalid_argument, "unknown log opt '{}' for log driver local", name);
        fail(ErrorKind::invalid_argument, "unknown log opt '{}' for {} log driver", name, driver);
    }
}

}  // namespace

const std::vector<std::string>& log_drivers() {
    static const std::vector<std::string> all{"journald", "json-file", "local", "syslog"};
    return all;
}

void check_log_driver(const std::string& driver) {
    if (driver == "none" || std::ranges::find(log_drivers(), driver) != log_drivers().end()) return;
    if (is_one_of(driver, not_there)) fail(ErrorKind::not_implemented, "not implemented: the log driver {}", driver);
    fail(ErrorKind::invalid_argument, "error looking up logging plugin {}: plugin \"{}\" not found", driver, driver);
}

void check_log_peer(const LogSettings& settings) {
    if (!settings.syslog.network.starts_with("unix")) return;
    const std::string& path = settings.syslog.addresses.front();
    struct stat status{};
    if (::stat(path.c_str(), &status) < 0) fail(ErrorKind::invalid_argument, "stat {}: {}", path, to_lower(std::strerror(errno)));
}

bool is_cache_option(const std::string& name) {
    if (name == cache_disabled) return true;
    if (!name.starts_with(cache_prefix)) return false;
    const std::string_view rest = std::string_view(name).substr(cache_prefix.size());
    return is_one_of(rest, of_files) || is_one_of(rest, of_attributes);
}

std::int64_t parse_log_size(const std::string& text) {
    const auto size = parse_size(text, SizeUnit::of_1000);
    // Sums of some of them fit as well.
    if (!size || *size > std::numeric_limits<std::int64_t>::max() / 2) fail(ErrorKind::invalid_argument, "invalid size: '{}'", text);
    return *size;
}

LogSettings parse_log_options(const std::string& driver, const Options& options) {
    LogSettings out;
    if (driver == "none") return out;  // Docker looks at none of its options.
    out.buffer = parse_buffer(options);
    bool without_cache = false;
    if (const auto found = options.find(std::string(cache_disabled)); found != options.end() && !found->second.empty()) {
        try {
            without_cache = parse_bool(found->second);
        } catch (const Error&) {
            fail(ErrorKind::invalid_argument, "invalid value for option {}: {}", cache_disabled, found->second);
        }
    }
    check_names(driver, options);
    if (driver == "json-file") {
        out.limits = parse_limits(driver, options, "", {});
    } else if (driver == "local") {
        out.limits = parse_limits(driver, options, "", limits_of_local);
    } else {
        out.limits = parse_limits(driver, options, cache_prefix, limits_of_local);
    }
    out.keeps_file = driver == "json-file" || driver == "local" || !without_cache;
    if (driver == "syslog") out.syslog = parse_syslog(options);
    return out;
}

}  // namespace grua::monitor
