#include "monitor/log_options.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>

namespace grua::monitor {
namespace {

using Options = std::map<std::string, std::string>;

LogLimits limits(const Options& options, const std::string& driver = "json-file") { return parse_log_options(driver, options).limits; }

std::string refusal(const Options& options, const std::string& driver = "json-file") {
    try {
        const LogLimits got = limits(options, driver);
        return fmt::format("taken: {}, {}, {}", got.max_size, got.max_files, got.compress);
    } catch (const Error& error) {
        return error.what();
    }
}

TEST(LogOptions, SizesAndCounts) {
    EXPECT_EQ(limits({}).max_size, 10'000'000);
    EXPECT_EQ(limits({}).max_files, 5);
    EXPECT_EQ(limits({{"max-file", "3"}}).max_size, 10'000'000);
    EXPECT_EQ(limits({{"max-file", "3"}}).max_files, 3);
    for (const auto& [text, size] : std::map<std::string, std::int64_t>{{"1", 1},
                                                                        {"10k", 10'000},
                                                                        {"10KB", 10'000},
                                                                        {"5 m", 5'000'000},
                                                                        {"1.5g", 1'500'000'000},
                                                                        {"2t", 2'000'000'000'000},
                                                                        {"1b", 1}})
        EXPECT_EQ(limits({{"max-size", text}}).max_size, size) << text;
}

// F: sizes that overflow, counts without a bound, and what Docker finds at the start only.
TEST(LogOptions, WhatMakesNoSenseIsRefused) {
    for (const char* text : {"", "m", "x", "-1", "+1", "1mm", "1x", "1..5", "1.", ".5", "1.x", "0x10", "10 000", "9223372036854775807",
                             "9223372036854775807g", "99999999999999999999", "1.99999999999", "1e3"})
        EXPECT_EQ(refusal({{"max-size", text}}), fmt::format("invalid size: '{}'", text)) << text;
    EXPECT_EQ(refusal({{"max-size", "0"}}), "max-size must be a positive number");
    EXPECT_EQ(refusal({{"max-size", "0.1"}}), "max-size must be a positive number");
    EXPECT_EQ(refusal({{"max-file", "0"}}), "max-file cannot be less than 1");
    EXPECT_EQ(refusal({{"max-file", "-5"}}), "max-file cannot be less than 1");
    EXPECT_EQ(refusal({{"max-file", "1000000000"}}), "max-file cannot be more than 1000");
    EXPECT_EQ(refusal({{"max-file", "many"}}), "invalid value for the log option max-file: 'many'");
    EXPECT_EQ(refusal({{"max-files", "1"}}), "unknown log opt 'max-files' for json-file log driver");
    EXPECT_EQ(refusal({{"max-files", "1"}}, "local"), "unknown log opt 'max-files' for log driver local");
    EXPECT_EQ(refusal({{"max-size", "1m"}}, "syslog"), "unknown log opt 'max-size' for syslog log driver");
    EXPECT_EQ(refusal({{"syslog-format", "rfc3164"}}, "journald"), "unknown log opt 'syslog-format' for journald log driver");
    EXPECT_EQ(refusal({{"mode", "sometimes"}}), "logger: logging mode not supported: sometimes");
}

TEST(LogOptions, OfPacking) {
    EXPECT_TRUE(limits({{"compress", "true"}}).compress);
    EXPECT_TRUE(limits({}, "local").compress);
    EXPECT_EQ(limits({}, "local").max_size, 20 * 1024 * 1024);
    EXPECT_FALSE(limits({{"compress", "F"}, {"max-file", "1"}}, "local").compress);
    EXPECT_EQ(refusal({{"compress", "yes"}}), "invalid boolean value for compress: strconv.ParseBool: parsing \"yes\": invalid syntax");
    EXPECT_EQ(refusal({{"compress", "1"}, {"max-file", "1"}}),
              "compress cannot be true when max-file is less than 2 or max-size is not set");
    EXPECT_EQ(refusal({{"max-file", "1"}}, "local"), "compression cannot be enabled when max file count is 1");
}

TEST(LogOptions, OfBuffers) {
    EXPECT_EQ(parse_log_options("json-file", {}).buffer, -1);
    EXPECT_EQ(parse_log_options("json-file", {{"mode", "blocking"}}).buffer, -1);
    EXPECT_EQ(parse_log_options("syslog", {{"mode", "non-blocking"}}).buffer, 1'000'000);
    EXPECT_EQ(parse_log_options("local", {{"mode", "non-blocking"}, {"max-buffer-size", "4m"}}).buffer, 4 << 20);
    EXPECT_EQ(refusal({{"max-buffer-size", "4m"}}), "logger: max-buffer-size option is only supported with 'mode=non-blocking'");
    EXPECT_EQ(refusal({{"mode", "non-blocking"}, {"max-buffer-size", "much"}}),
              "error parsing option max-buffer-size: invalid size: 'much'");
}

TEST(LogOptions, OfCaches) {
    EXPECT_TRUE(parse_log_options("syslog", {}).keeps_file);
    EXPECT_TRUE(parse_log_options("json-file", {{"cache-disabled", "true"}}).keeps_file);
    EXPECT_FALSE(parse_log_options("journald", {{"cache-disabled", "true"}}).keeps_file);
    EXPECT_EQ(limits({}, "syslog").max_size, 20 * 1024 * 1024);
    EXPECT_EQ(limits({{"cache-max-size", "1m"}, {"cache-max-file", "2"}, {"cache-compress", "false"}}, "journald"),
              (LogLimits{.max_size = 1'000'000, .max_files = 2, .compress = false}));
    EXPECT_EQ(refusal({{"cache-disabled", "maybe"}}, "syslog"), "invalid value for option cache-disabled: maybe");
    EXPECT_TRUE(is_cache_option("cache-max-size"));
    EXPECT_FALSE(is_cache_option("cache-size"));
    EXPECT_FALSE(is_cache_option("max-size"));
}

SyslogTarget syslog(const std::string& address) { return parse_log_options("syslog", {{"syslog-address", address}}).syslog; }

TEST(LogOptions, SyslogAddresses) {
    EXPECT_EQ(syslog("").network, "");
    EXPECT_EQ(syslog("udp://10.0.0.1").port, 514);
    EXPECT_EQ(syslog("udp://10.0.0.1").host, "10.0.0.1");
    EXPECT_EQ(syslog("tcp+tls://[::1]:6514").host, "::1");
    EXPECT_EQ(syslog("tcp+tls://[::1]:6514").port, 6514);
    EXPECT_EQ(syslog("tcp://logs.example:1514/").port, 1514);
    EXPECT_EQ(syslog("TCP://:1").host, "localhost");
    EXPECT_EQ(syslog("unix:///dev/null").addresses, std::vector<std::string>{"/dev/null"});
    const auto refused = [](const std::string& address) { return refusal({{"syslog-address", address}}, "syslog"); };
    EXPECT_EQ(refused("ftp://x"), "unsupported scheme: 'ftp'");
    EXPECT_EQ(refused("x"), "unsupported scheme: ''");
    EXPECT_EQ(refused("localhost:514"), "unsupported scheme: 'localhost'");
    EXPECT_EQ(refused("tcp://x:0"), "invalid port \":0\" after host");
    EXPECT_EQ(refused("tcp://x:99999"), "invalid port \":99999\" after host");
    EXPECT_EQ(refused("tcp://x:y"), "invalid port \":y\" after host");
    EXPECT_EQ(refused("tcp://[::1"), "missing ']' in address [::1");
    EXPECT_EQ(refused("tcp://::1:5"), "too many colons in address ::1");
    EXPECT_EQ(refusal({{"syslog-facility", "nosuch"}}, "syslog"), "invalid syslog facility");
    EXPECT_EQ(refusal({{"syslog-facility", "24"}}, "syslog"), "invalid syslog facility");
    EXPECT_EQ(refusal({{"syslog-format", "json"}}, "syslog"), "Invalid syslog format");
    const auto facility = [](const std::string& text) { return parse_log_options("syslog", {{"syslog-facility", text}}).syslog.facility; };
    EXPECT_EQ(facility(""), 3);
    EXPECT_EQ(facility("kern"), 0);
    EXPECT_EQ(facility("ftp"), 11);
    EXPECT_EQ(facility("local0"), 16);
    EXPECT_EQ(facility("local7"), 23);
    EXPECT_EQ(facility("13"), 13);
    EXPECT_THROW(check_log_peer(parse_log_options("syslog", {{"syslog-address", "unix:///nosuch"}})), Error);
}

TEST(LogOptions, Drivers) {
    const auto refused = [](const std::string& driver) -> std::string {
        try {
            check_log_driver(driver);
            return "taken";
        } catch (const Error& error) {
            return error.what();
        }
    };
    for (const char* each : {"json-file", "local", "syslog", "journald", "none"}) EXPECT_EQ(refused(each), "taken");
    EXPECT_EQ(refused("gelf"), "not implemented: the log driver gelf");
    EXPECT_EQ(refused("bogus"), "error looking up logging plugin bogus: plugin \"bogus\" not found");
}

}  // namespace
}  // namespace grua::monitor
