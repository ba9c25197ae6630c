// Which file a program's name means inside the container, with Docker's words where there is none.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace grua::runtime {

/// The path to execute: `name` itself where it has a slash, else the first executable file of PATH (of `environment`).
/// Called inside the container as the container's user. Throws
///   Error(not_found)  exec: "x": executable file not found in $PATH
///   Error(not_found)  exec: "/x": stat /x: no such file or directory
///   Error(forbidden)  exec: "/x": permission denied, exec: "/x": is a directory
std::string find_program(std::string_view name, const std::vector<std::string>& environment);

/// The value of a variable, the last one given; empty where there is none.
std::string_view variable(const std::vector<std::string>& environment, std::string_view name) noexcept;

/// Of each name the last one given: who reads such a list from the front, and who from the back, sees the same.
std::vector<std::string> last_of_each(const std::vector<std::string>& environment);

}  // namespace grua::runtime
