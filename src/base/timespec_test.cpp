#include "base/timespec.hpp"

#include <gtest/gtest.h>
#include <limits>

namespace grua {
namespace {

TEST(Timespec, WhatNanosecondsHoldIsItself) {
    EXPECT_EQ(nanoseconds_of({.tv_sec = 0, .tv_nsec = 0}), 0);
    EXPECT_EQ(nanoseconds_of({.tv_sec = -1, .tv_nsec = 999'999'999}), -1);
    EXPECT_EQ(time_of({.tv_sec = 1'764'547'200, .tv_nsec = 5}), parse_time("2025-12-01T00:00:00.000000005Z"));
}

TEST(Timespec, WhatTheyDoNotHoldIsTheFirstOrTheLast) {
    using Seconds = std::numeric_limits<time_t>;
    for (const time_t late : {Seconds::max(), time_t{505'695'343'777}, time_t{106'750} * 86'400})
        EXPECT_EQ(format_time(time_of({.tv_sec = late, .tv_nsec = 999'999'999})), "2262-04-09T23:59:59.999999999Z");
    for (const time_t early : {Seconds::min(), time_t{-106'750} * 86'400, time_t{-106'750} * 86'400 - 1})
        EXPECT_EQ(format_time(time_of({.tv_sec = early, .tv_nsec = 0})), "1677-09-23T00:00:00Z");
}

}  // namespace
}  // namespace grua
