// Help texts, made from the table of commands.
#pragma once

#include "cli/command.hpp"

#include <string>

namespace grua::cli {

/// Words of a command's name at most: "builder history ls".
inline constexpr std::size_t longest_name = 3;

std::string program_help();
std::string group_help(const Group& group);
std::string command_help(const Command& command);

/// "Usage:  grua stop [OPTIONS] CONTAINER [CONTAINER...]"
std::string usage_line(const Command& command);

/// Headings of a command's flags in their order, each with its flags.
std::vector<std::pair<std::string, std::vector<const Flag*>>> grouped_flags(const Command& command);

}  // namespace grua::cli
