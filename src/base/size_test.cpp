#include "base/size.hpp"

#include <gtest/gtest.h>
#include <limits>

namespace grua {
namespace {

TEST(Size, AsPeopleWriteThem) {
    const auto size = [](std::string_view text) { return parse_size(text, SizeUnit::of_1024).value_or(-1); };
    EXPECT_EQ(size("0"), 0);
    EXPECT_EQ(size("100"), 100);
    EXPECT_EQ(size("7b"), 7);
    EXPECT_EQ(size("64m"), 64 << 20);
    EXPECT_EQ(size("64MB"), 64 << 20);
    EXPECT_EQ(size("10 KiB"), 10240);
    EXPECT_EQ(size("1.5g"), 1610612736);
    EXPECT_EQ(size("2T"), std::int64_t{2} << 40);
    EXPECT_EQ(size("1p"), std::int64_t{1} << 50);
    EXPECT_EQ(parse_size("10k", SizeUnit::of_1000), 10'000);
    EXPECT_EQ(parse_size("1.25GB", SizeUnit::of_1000), 1'250'000'000);
}

// F: `number << 30` overflowed.
TEST(Size, WhatDoesNotFitIsNone) {
    EXPECT_EQ(parse_size("9223372036854775807", SizeUnit::of_1024), std::numeric_limits<std::int64_t>::max());
    for (const char* text : {"9223372036854775808", "8589934592g", "9223372036854775807k", "8192p", "99999999999999999999"})
        EXPECT_FALSE(parse_size(text, SizeUnit::of_1024)) << text;
    EXPECT_EQ(parse_size("8589934591g", SizeUnit::of_1024), std::int64_t{8589934591} << 30);
}

TEST(Size, AnythingElseIsNone) {
    for (const char* text : {"",     " ",  "b",  "m",     "x",   "-1",   "+1",  "1x",  "1mm",          "1bb", "1kbb", "1ib",
                             "1  k", "1.", ".5", "1.2.3", "1.x", "0x10", "1e3", "1 0", "1.1234567890", "1ki", "k1"})
        EXPECT_FALSE(parse_size(text, SizeUnit::of_1024)) << text;
}

}  // namespace
}  // namespace grua
