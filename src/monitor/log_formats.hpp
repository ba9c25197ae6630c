// The two forms in which a log lies on the disk: an entry is one line of the file in both.
//
// json-file is Docker's, so that tools that read /var/lib/docker/containers/*-json.log read this:
//     {"log":"hello\n","stream":"stdout","time":"2026-01-02T03:04:05.678901234Z"}
//     {"log":"hello\n","stream":"stdout","attrs":{"tag":"a"},"time":"2026-01-02T03:04:05.678901234Z"}
// Bytes that are not UTF-8 become U+FFFD.
//
// local is grua's own, smaller and quicker; bytes stay as they are (docs/logs.md):
//     1767323045.678901234 o hello
//     1767323045.678901234 E?tag=a part of a line of standard error, without a newline
#pragma once

#include "monitor/log_driver.hpp"

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace grua::monitor {

enum class LogFormat : std::uint8_t { json, local };

using LogAttributes = std::map<std::string, std::string>;

struct LogEntry {
    Time time{};
    bool from_stderr = false;
    std::string text;  ///< With its newline; without one where the line goes on in the next entry (or the program ended).
    LogAttributes attributes;
};

/// Appends entries, all with the same attributes.
class LogEncoder {
public:
    LogEncoder(LogFormat format, const LogAttributes& attributes);
    void append(std::string& out, const LogLine& line) const;

private:
    LogFormat format_;
    std::string attributes_;  // As they stand in an entry.
};

/// One line of a log file; nothing where it is not an entry.
std::optional<LogEntry> parse_log_line(std::string_view line, LogFormat format = LogFormat::json);

/// "key=value,other=value", each as Go's url.QueryEscape writes it.
std::string encode_attributes(const LogAttributes& attributes);

}  // namespace grua::monitor
