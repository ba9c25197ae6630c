// Between the units of the generations.
#include "linux/cgroup_resources.hpp"

#include "base/error.hpp"

#include <cmath>

namespace grua::linux {

std::uint64_t weight_from_shares(std::uint64_t shares) noexcept {
    constexpr std::uint64_t least = 2, most = 262144;
    if (shares == 0) return 0;
    if (shares <= least) return 1;
    if (shares >= most) return 10000;
    // A parabola in the logarithms through (2, 1), (1024, 100) and (262144, 10000): the weight that runc computes since 1.3.2, so that
    // containers of both share the processor as their shares say.
    const double log = std::log2(static_cast<double>(shares));
    return static_cast<std::uint64_t>(std::ceil(std::pow(10.0, (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0)));
}

std::uint64_t io_weight_from_blkio(std::uint16_t weight) noexcept {
    if (weight == 0) return 0;
    return weight <= 10 ? 1 : 1 + (std::uint64_t{weight} - 10) * 9999 / 990;
}

std::optional<std::int64_t> swap_alone(std::optional<std::int64_t> memory, std::optional<std::int64_t> memory_and_swap) {
    const std::int64_t limit = memory.value_or(0), both = memory_and_swap.value_or(0);
    if (both == 0) return limit == -1 ? std::optional<std::int64_t>{-1} : std::nullopt;
    if (both == -1 || limit == -1) return both;
    if (limit == 0) fail(ErrorKind::invalid_argument, "unable to set swap limit without memory limit");
    if (limit < 0 || both < 0) fail(ErrorKind::invalid_argument, "invalid memory limit {} with swap {}", limit, both);
    if (both < limit) fail(ErrorKind::invalid_argument, "memory+swap limit should be >= memory limit");
    return both - limit;
}

}  // namespace grua::linux
