// The command line from its first word: global options, the command, its options, its help - and every error as an exit status.
#pragma once

#include <span>
#include <string>

namespace grua::cli {

/// `words` without the program's name.
int run(std::span<const std::string> words);

}  // namespace grua::cli
