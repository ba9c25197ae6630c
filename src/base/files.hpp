// Small files on trusted host paths: read with a bound, write whole.
// Paths that a container, an image or a client names go through linux/root.hpp instead.
#pragma once

#include "base/fd.hpp"

#include <sys/types.h>
#include <string>
#include <string_view>

namespace grua {

/// The whole file, refused with invalid_argument where it is larger than `limit` bytes. Throws Error(not_found) where there is none.
std::string read_file(const std::string& path, std::size_t limit = std::size_t{1} << 20U);

/// The rest of an open descriptor, bounded alike. `what` names it in errors.
std::string read_all(int fd, std::string_view what, std::size_t limit = std::size_t{1} << 20U);

/// Writes all bytes; a short write goes on, EINTR is retried.
void write_all(int fd, std::string_view bytes, std::string_view what);

/// One write(2) to an existing file, as /proc, /sys and cgroupfs want it.
void write_value(const std::string& path, std::string_view value);

/// Writes aside, under a name of its own, and renames: a reader sees the old file or the new one, and of two writers one is last.
/// Not durable; for that see store/.
void replace_file(const std::string& path, std::string_view bytes, mode_t mode = 0644);

/// Removes what replace_file() left in `directory` when the process was killed. For a start, before there are writers.
void sweep_replacements(const std::string& directory);

/// mkdir -p with `mode` for what is made.
void make_directories(const std::string& path, mode_t mode = 0755);

/// Kills this process where GRUA_CRASH_AT names this point; nothing in builds without GRUA_CRASH_POINTS.
void crash_point(const char* name) noexcept;

}  // namespace grua
