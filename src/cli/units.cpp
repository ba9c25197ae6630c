#include "cli/units.hpp"

#include "base/error.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <ctime>
#include <span>

namespace grua::cli {

namespace {

/// Go's %.Ng: N significant digits, no trailing zeros.
std::string significant(double value, int digits) { return fmt::format("{:.{}g}", value, digits); }

std::string scaled(double size, double base, std::span<const char* const> units, int precision) {
    std::size_t unit = 0;
    while (size >= base && unit + 1 < units.size()) {
        size /= base;
        ++unit;
    }
    return significant(size, precision) + units[unit];
}

}  // namespace

std::int64_t parse_cpus(std::string_view text) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) {
        fail(ErrorKind::invalid_argument, "failed to parse {} as a rational number", text);
    }
    const double nano = value * 1e9;
    if (std::abs(nano) > 9.2e18) fail(ErrorKind::invalid_argument, "value is too large");
    const std::size_t point = text.find('.');
    if (point != std::string_view::npos && text.substr(point + 1).size() > 9) fail(ErrorKind::invalid_argument, "value is too precise");
    return std::llround(nano);
}

std::string human_size(double bytes, int precision) {
    static constexpr std::array units{"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    return scaled(bytes, 1000, units, precision);
}

std::string binary_size(double bytes) {
    static constexpr std::array units{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    return scaled(bytes, 1024, units, 4);
}

std::string human_duration(std::int64_t seconds) {
    if (seconds < 1) return "Less than a second";
    if (seconds == 1) return "1 second";
    if (seconds < 60) return fmt::format("{} seconds", seconds);
    const std::int64_t minutes = seconds / 60;
    if (minutes == 1) return "About a minute";
    if (minutes < 60) return fmt::format("{} minutes", minutes);
    const auto hours = static_cast<std::int64_t>(std::llround(static_cast<double>(seconds) / 3600));
    if (hours == 1) return "About an hour";
    if (hours < 48) return fmt::format("{} hours", hours);
    if (hours < 24 * 7 * 2) return fmt::format("{} days", hours / 24);
    if (hours < 24 * 30 * 2) return fmt::format("{} weeks", hours / 24 / 7);
    if (hours < 24 * 365 * 2) return fmt::format("{} months", hours / 24 / 30);
    return fmt::format("{} years", hours / 24 / 365);
}

std::string local_time(std::int64_t unix_seconds) {
    const std::time_t time = unix_seconds;
    std::tm local{};
    ::localtime_r(&time, &local);
    std::array<char, 64> text;
    const std::size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S %z %Z", &local);
    return {text.data(), size};
}

std::string timestamp_argument(std::string_view text) {
    const auto from_nanoseconds = [](std::int64_t time) { return fmt::format("{}.{:09}", time / 1'000'000'000, time % 1'000'000'000); };
    if (text.find_first_not_of("0123456789.") == std::string_view::npos && !text.empty()) return std::string(text);
    if (const auto time = parse_time(text)) return from_nanoseconds(time->time_since_epoch().count());
    // Without a zone, a time is the local one: 2026-01-02, 2026-01-02T15:04 and with seconds.
    if (text.size() >= 10 && text[4] == '-' && text[7] == '-') {
        std::string padded(text);
        if (padded.ends_with('Z')) {
            padded.pop_back();
        }
        for (const char* format : {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H", "%Y-%m-%d"}) {
            std::tm parts{};
            const char* end = ::strptime(padded.c_str(), format, &parts);
            if (!end || *end) continue;
            parts.tm_isdst = -1;
            const std::time_t seconds = text.ends_with('Z') ? ::timegm(&parts) : std::mktime(&parts);
            return fmt::format("{}.{:09}", seconds, 0);
        }
    }
    try {
        return from_nanoseconds(now().time_since_epoch().count() - parse_duration(text));
    } catch (const Error&) {
        fail(ErrorKind::invalid_argument, "failed to parse value as time or duration: \"{}\"", text);
    }
}

namespace {

/// Bytes that continue a character do not count.
bool starts_character(char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }

}  // namespace

std::size_t display_width(std::string_view text) {
    std::size_t width = 0;
    for (const char c : text) width += starts_character(c) ? 1 : 0;
    return width;
}

std::string ellipsis(std::string_view text, std::size_t width) {
    if (display_width(text) <= width || width == 0) return std::string(text);
    std::size_t seen = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (starts_character(text[i]) && ++seen == width) return std::string(text.substr(0, i)) + "…";
    }
    return std::string(text);
}

}  // namespace grua::cli
