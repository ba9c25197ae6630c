#include "monitor/log_options.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>

namespace grua::monitor {
namespace {

constexpr LogLimits otherwise{.max_size = 77, .max_files = 7};

LogLimits parse(const std::map<std::string, std::string>& options) { return parse_log_options(options, otherwise); }

std::string refusal(const std::map<std::string, std::string>& options) {
    try {
        const LogLimits got = parse(options);
        return fmt::format("taken: {}, {}", got.max_size, got.max_files);
    } catch (const Error& error) {
        return error.what();
    }
}

TEST(LogOptions, SizesAndCounts) {
    EXPECT_EQ(parse({}).max_size, 77);
    EXPECT_EQ(parse({}).max_files, 7);
    EXPECT_EQ(parse({{"max-file", "3"}}).max_size, 77);
    EXPECT_EQ(parse({{"max-file", "3"}}).max_files, 3);
    for (const auto& [text, size] : std::map<std::string, std::int64_t>{{"1", 1},
                                                                        {"10k", 10'000},
                                                                        {"10KB", 10'000},
                                                                        {"5 m", 5'000'000},
                                                                        {"1.5g", 1'500'000'000},
                                                                        {"2t", 2'000'000'000'000},
                                                                        {"1b", 1}})
        EXPECT_EQ(parse({{"max-size", text}}).max_size, size) << text;
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
    EXPECT_EQ(refusal({{"mode", "sometimes"}}), "logger: logging mode not supported: sometimes");
}

TEST(LogOptions, WhatIsNotThereIsNamed) {
    EXPECT_EQ(refusal({{"tag", "{{.Name}}"}}), "not implemented: the log option tag");
    EXPECT_EQ(refusal({{"compress", "true"}}), "not implemented: the log option compress");
    EXPECT_EQ(refusal({{"mode", "non-blocking"}}), "not implemented: the log option mode=non-blocking");
    EXPECT_EQ(refusal({{"compress", "false"}, {"mode", "blocking"}}), "taken: 77, 7");
}

}  // namespace
}  // namespace grua::monitor
