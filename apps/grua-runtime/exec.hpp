// exec: a further process in a container.
#pragma once

#include "commands.hpp"

namespace grua::app {

int exec(const Context& context, const Options& options);

}  // namespace grua::app
