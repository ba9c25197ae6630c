#include "base/units.hpp"

#include "base/error.hpp"
#include "base/size.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <string>

namespace grua {

std::int64_t parse_size(std::string_view text) {
    if (text == "-1") return -1;
    const auto size = parse_size(text, SizeUnit::of_1024);
    if (!size) fail(ErrorKind::invalid_argument, "invalid size: '{}'", text);
    return *size;
}

std::int64_t parse_duration(std::string_view text) {
    const auto invalid = [&] { fail(ErrorKind::invalid_argument, "time: invalid duration \"{}\"", text); };
    std::string_view rest = text;
    double sign = 1;
    if (rest.starts_with('-') || rest.starts_with('+')) {
        sign = rest[0] == '-' ? -1 : 1;
        rest.remove_prefix(1);
    }
    if (rest == "0") return 0;
    if (rest.empty()) invalid();
    double total = 0;
    struct Unit {
        std::string_view name;
        double nanoseconds;
    };
    static constexpr std::array units{Unit{"ns", 1},     Unit{"us", 1e3}, Unit{"µs", 1e3}, Unit{"ms", 1e6},
                                      Unit{"h", 3.6e12}, Unit{"m", 6e10}, Unit{"s", 1e9}};
    while (!rest.empty()) {
        const std::size_t digits = rest.find_first_not_of("0123456789.");
        if (digits == 0) invalid();
        if (digits == std::string_view::npos) fail(ErrorKind::invalid_argument, "time: missing unit in duration \"{}\"", text);
        double value = 0;
        const auto [end, error] = std::from_chars(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(digits), value);
        if (error != std::errc{} || end != rest.data() + digits) invalid();
        rest.remove_prefix(digits);
        const Unit* found = nullptr;
        for (const Unit& unit : units) {
            if (rest.starts_with(unit.name)) {
                found = &unit;
                break;
            }
        }
        if (!found) fail(ErrorKind::invalid_argument, "time: unknown unit \"{}\" in duration \"{}\"", rest, text);
        total += value * found->nanoseconds;
        rest.remove_prefix(found->name.size());
    }
    if (total > 9.2e18) invalid();
    return static_cast<std::int64_t>(std::llround(sign * total));
}

}  // namespace grua
