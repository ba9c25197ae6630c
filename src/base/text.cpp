#include "base/text.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <charconv>

namespace grua {

std::vector<std::string> split(std::string_view text, char separator) {
    std::vector<std::string> parts;
    for (;;) {
        const std::size_t at = text.find(separator);
        parts.emplace_back(text.substr(0, at));
        if (at == std::string_view::npos) return parts;
        text.remove_prefix(at + 1);
    }
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
    std::string all;
    for (const std::string& part : parts) {
        if (&part != &parts.front()) all += separator;
        all += part;
    }
    return all;
}

std::string_view trim(std::string_view text) noexcept {
    constexpr std::string_view blanks = " \t\r\n\v\f";
    const std::size_t begin = text.find_first_not_of(blanks);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

std::string to_lower(std::string_view text) {
    std::string lower{text};
    std::ranges::transform(lower, lower.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    return lower;
}

namespace {

template <typename Number>
std::optional<Number> parse_number(std::string_view text) noexcept {
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
    return value;
}

/// Takes `count` digits off the front.
std::optional<int> take_digits(std::string_view& text, std::size_t count) noexcept {
    if (text.size() < count) return std::nullopt;
    const std::string_view digits = text.substr(0, count);
    if (!std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; })) return std::nullopt;
    text.remove_prefix(count);
    return parse_number<int>(digits);
}

bool take(std::string_view& text, char expected) noexcept {
    if (text.empty() || text.front() != expected) return false;
    text.remove_prefix(1);
    return true;
}

constexpr std::string_view go_zero_time = "0001-01-01T00:00:00Z";

// Nanoseconds in 64 bits span 292 years to each side of 1970, and so does what two times differ by.
constexpr std::chrono::sys_days first_day = std::chrono::year{1800} / 1 / 1;
constexpr std::chrono::sys_days day_after_last = std::chrono::year{2262} / 1 / 1;

}  // namespace

std::optional<std::int64_t> parse_int(std::string_view text) noexcept { return parse_number<std::int64_t>(text); }
std::optional<std::uint64_t> parse_uint(std::string_view text) noexcept { return parse_number<std::uint64_t>(text); }

std::string format_time(Time time) {
    using namespace std::chrono;
    if (time == Time{}) return std::string{go_zero_time};
    const auto day = floor<days>(time);
    const year_month_day date{day};
    const hh_mm_ss clock{time - day};
    std::string text =
        fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                    static_cast<unsigned>(date.day()), clock.hours().count(), clock.minutes().count(), clock.seconds().count());
    if (const auto fraction = clock.subseconds().count(); fraction != 0) {
        text += fmt::format(".{:09}", fraction);
        text.erase(text.find_last_not_of('0') + 1);
    }
    return text + "Z";
}

std::optional<Time> parse_time(std::string_view text) {
    using namespace std::chrono;
    if (text == go_zero_time) return Time{};
    const auto y = take_digits(text, 4);
    if (!y || !take(text, '-')) return std::nullopt;
    const auto mo = take_digits(text, 2);
    if (!mo || !take(text, '-')) return std::nullopt;
    const auto d = take_digits(text, 2);
    if (!d || !(take(text, 'T') || take(text, 't') || take(text, ' '))) return std::nullopt;
    const auto h = take_digits(text, 2);
    if (!h || !take(text, ':')) return std::nullopt;
    const auto mi = take_digits(text, 2);
    if (!mi || !take(text, ':')) return std::nullopt;
    const auto s = take_digits(text, 2);
    if (!s || *h > 23 || *mi > 59 || *s > 60) return std::nullopt;

    nanoseconds fraction{0};
    if (take(text, '.')) {
        std::int64_t unit = 100'000'000;
        if (text.empty() || text.front() < '0' || text.front() > '9') return std::nullopt;
        for (; !text.empty() && text.front() >= '0' && text.front() <= '9'; text.remove_prefix(1), unit /= 10)
            fraction += nanoseconds{(text.front() - '0') * unit};
    }
    minutes offset{0};
    if (!take(text, 'Z') && !take(text, 'z')) {
        const bool east = take(text, '+');
        if (!east && !take(text, '-')) return std::nullopt;
        const auto oh = take_digits(text, 2);
        if (!oh || !take(text, ':')) return std::nullopt;
        const auto om = take_digits(text, 2);
        if (!om || *oh > 23 || *om > 59) return std::nullopt;
        offset = hours{*oh} + minutes{*om};
        if (!east) offset = -offset;
    }
    const year_month_day date{year{*y}, month{static_cast<unsigned>(*mo)}, day{static_cast<unsigned>(*d)}};
    if (!text.empty() || !date.ok()) return std::nullopt;
    const sys_seconds whole = sys_days{date} + hours{*h} + minutes{*mi} + seconds{*s} - offset;
    if (whole < first_day || whole >= day_after_last) return std::nullopt;
    return Time{whole} + fraction;
}

std::string printable(std::string_view text) {
    std::string out{text};
    for (char& c : out) {
        if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = ' ';
    }
    return out;
}

}  // namespace grua
