#include "base/log.hpp"

#include "base/text.hpp"

#include <unistd.h>
#include <array>
#include <atomic>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

namespace grua::log {
namespace {

// Each by itself: who writes while they change may see one of before and one of after.
struct Settings {
    std::atomic<Level> level = Level::info;
    std::atomic<Format> format = Format::text;
    std::atomic<int> fd = 2;
};
Settings settings;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

std::string_view name_of(Level level) {
    constexpr std::array names{"debug", "info", "warning", "error"};
    return names[static_cast<std::size_t>(level)];
}

std::string quoted(std::string_view text) { return boost::json::serialize(boost::json::value(text)); }

}  // namespace

void configure(Level level, Format format, int fd) {
    settings.level = level;
    settings.format = format;
    settings.fd = fd;
}

bool enabled(Level level) noexcept { return level >= settings.level.load(std::memory_order_relaxed); }

void write(Level level, std::string_view message) {
    if (!enabled(level)) return;
    const std::string time = format_time(now());
    const std::string line = settings.format == Format::json
                                 ? fmt::format("{{\"level\":\"{}\",\"msg\":{},\"time\":\"{}\"}}\n", name_of(level), quoted(message), time)
                                 : fmt::format("time=\"{}\" level={} msg={}\n", time, name_of(level), quoted(message));
    // One write per line, so that lines of several threads do not mix; there is nowhere to report its failure to.
    [[maybe_unused]] const auto written = ::write(settings.fd, line.data(), line.size());
}

}  // namespace grua::log
