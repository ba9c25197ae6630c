#include "base/text.hpp"

#include <gtest/gtest.h>

namespace grua {
namespace {

TEST(Text, TimeRoundTrips) {
    const auto time = parse_time("2026-01-02T03:04:05.600000001Z");
    ASSERT_TRUE(time);
    EXPECT_EQ(format_time(*time), "2026-01-02T03:04:05.600000001Z");
}

TEST(Text, TimeDropsTrailingZeros) { EXPECT_EQ(format_time(*parse_time("2026-01-02T03:04:05.600Z")), "2026-01-02T03:04:05.6Z"); }

TEST(Text, TimeTakesOffsets) { EXPECT_EQ(format_time(*parse_time("2026-01-02T03:04:05+01:30")), "2026-01-02T01:34:05Z"); }

TEST(Text, ZeroTimeIsGos) { EXPECT_EQ(format_time(Time{}), "0001-01-01T00:00:00Z"); }

TEST(Text, TimeRefusesNonsense) {
    for (const char* text : {"", "2026", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-01-02T03:04:05", "2026-01-02T03:04:05.Z"})
        EXPECT_FALSE(parse_time(text)) << text;
}

TEST(Text, ATimeFitsItsNumber) {
    // Two that are taken can be subtracted from each other and from the present.
    for (const char* out : {"9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z", "2262-01-01T00:00:00Z", "1799-12-31T23:59:59Z"})
        EXPECT_FALSE(parse_time(out)) << out;
    for (const char* in : {"1800-01-01T00:00:00Z", "2261-12-31T23:59:59.999999999Z"}) {
        const auto time = parse_time(in);
        ASSERT_TRUE(time) << in;
        EXPECT_EQ(format_time(*time), in);
    }
}

TEST(Text, NumbersAreWhole) {
    EXPECT_EQ(parse_int("-5"), -5);
    EXPECT_FALSE(parse_uint("-5"));
    EXPECT_FALSE(parse_int("5x"));
    EXPECT_FALSE(parse_int("99999999999999999999"));
    EXPECT_FALSE(parse_int(""));
}

}  // namespace
}  // namespace grua
