// The functions of `grua builder history`, as commands.cpp's table names them.
#pragma once

#include "cli/command.hpp"
#include "cli/context.hpp"

namespace grua::cli {

int list_build_history(Context& context, const Parsed& given);
int inspect_build_history(Context& context, const Parsed& given);
int build_history_logs(Context& context, const Parsed& given);
int remove_build_history(Context& context, const Parsed& given);

}  // namespace grua::cli
