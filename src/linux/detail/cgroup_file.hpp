// Files of a cgroup directory, by descriptor and name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace grua::linux::detail {

/// The whole file; nothing where there is no such file (the controller is not there). Throws Error on anything else.
std::optional<std::string> read_cgroup_file(int directory, const char* name);

/// A single number; nothing where there is no such file or it says "max".
std::optional<std::uint64_t> read_cgroup_number(int directory, const char* name);

/// One write(2) of the whole value. Returns errno, 0 where it went well: some failures have an answer.
int try_write_cgroup_file(int directory, const char* name, std::string_view value) noexcept;

/// Throws Error(system) that names file and value.
void write_cgroup_file(int directory, const char* name, std::string_view value);
void write_cgroup_file(int directory, const char* name, std::int64_t value);

[[noreturn]] void fail_cgroup_write(const char* name, std::string_view value, int error);

}  // namespace grua::linux::detail
