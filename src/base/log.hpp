// The log: one line per event to standard error, `time="…" level=info msg="…"`, the form that dockerd and runc write.
// An error is either logged or thrown, never both.
#pragma once

#include <fmt/format.h>
#include <string_view>

namespace grua::log {

enum class Level { debug, info, warn, error };
enum class Format { text, json };

/// From any thread, also while others write. `fd` is not owned.
void configure(Level level, Format format = Format::text, int fd = 2);

void write(Level level, std::string_view message);
bool enabled(Level level) noexcept;

template <typename... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(Level::debug)) write(Level::debug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(Level::info)) write(Level::info, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(Level::warn)) write(Level::warn, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(Level::error)) write(Level::error, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace grua::log
