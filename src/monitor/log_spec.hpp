// What a monitor is told of its container's log: made by gruad from the options that log_options.hpp reads, and a part of the message
// Launch. All that asks for the container's record, for templates or for names of hosts is done by then.
#pragma once

#include "base/codec.hpp"
#include "monitor/log_formats.hpp"
#include "monitor/log_writer.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace grua::monitor {

/// Where a syslog server is, and how it is spoken to.
struct SyslogTarget {
    std::string network;                 ///< "udp", "tcp", "tcp+tls", "unix", "unixgram"; empty: this host's, wherever its socket is.
    std::string host;                    ///< As it was asked for, for news and certificates.
    std::vector<std::string> addresses;  ///< IP addresses, tried in this order; or one path.
    std::uint16_t port = 0;
    int facility = 3;
    std::string format;  ///< "", "rfc3164", "rfc5424", "rfc5424micro"
    std::string hostname;
    std::string ca_file;
    std::string certificate_file;
    std::string key_file;
    bool skip_verify = false;
    template <typename Self = SyslogTarget>
    static json::Fields fields() {
        return json::Fields{json::field("network", &Self::network),
                            json::field("host", &Self::host),
                            json::field("addresses", &Self::addresses),
                            json::field("port", &Self::port),
                            json::field("facility", &Self::facility),
                            json::field("format", &Self::format),
                            json::field("hostname", &Self::hostname),
                            json::field("ca_file", &Self::ca_file),
                            json::field("certificate_file", &Self::certificate_file),
                            json::field("key_file", &Self::key_file),
                            json::field("skip_verify", &Self::skip_verify)};
    }
};

struct LogSpec {
    std::string driver;                  ///< "json-file", "local", "syslog", "journald"; empty: nothing is kept.
    std::string path;                    ///< Of json-file and local, or of the cache of another; empty: none.
    std::int64_t max_size = 10'000'000;  ///< -1: never rotated.
    int max_files = 5;
    bool compress = false;
    std::int64_t buffer = -1;  ///< Not less than 0: mode=non-blocking with so many bytes.
    LogAttributes attributes;  ///< In each entry of a file.
    std::string tag;           ///< Of syslog.
    LogAttributes journal;     ///< Of journald, in each entry.
    std::optional<SyslogTarget> syslog;
    std::string program;  ///< grua-log, where the driver needs it.
    template <typename Self = LogSpec>
    static json::Fields fields() {
        return json::Fields{json::field("driver", &Self::driver),         json::field("path", &Self::path),
                            json::field("max_size", &Self::max_size),     json::field("max_files", &Self::max_files),
                            json::field("compress", &Self::compress),     json::field("buffer", &Self::buffer),
                            json::field("attributes", &Self::attributes), json::field("tag", &Self::tag),
                            json::field("journal", &Self::journal),       json::field("syslog", &Self::syslog),
                            json::field("program", &Self::program)};
    }

    /// What speaks TLS is a program of its own.
    bool needs_program() const { return syslog && syslog->network == "tcp+tls"; }
    LogFormat format() const { return driver == "json-file" ? LogFormat::json : LogFormat::local; }
};

/// Throws Error where the file cannot be opened.
void open_log(LogWriter& log, const LogSpec& spec);

}  // namespace grua::monitor
