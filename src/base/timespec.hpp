// Times of files as the kernel has them. What 64 bits of nanoseconds do not hold (before 1677, after 2262) is the first or the last day
// that they do hold.
#pragma once

#include "base/text.hpp"

#include <cstdint>
#include <ctime>

namespace grua {

inline std::int64_t nanoseconds_of(const timespec& time) noexcept {
    constexpr std::int64_t second = 1'000'000'000;
    constexpr std::int64_t bound = std::int64_t{106'750} * 24 * 60 * 60;  // whole days
    if (time.tv_sec >= bound) return bound * second - 1;
    if (time.tv_sec < -bound) return -bound * second;
    return time.tv_sec * second + time.tv_nsec;
}

inline Time time_of(const timespec& time) noexcept { return Time{std::chrono::nanoseconds{nanoseconds_of(time)}}; }

}  // namespace grua
