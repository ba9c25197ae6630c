// What a container is and does, and what this runtime can do: printed.
#pragma once

#include "commands.hpp"

namespace grua::app {

int state_command(const Context& context, const Options& options);
int list_command(const Context& context, const Options& options);
int ps(const Context& context, const Options& options);
int events(const Context& context, const Options& options);
int spec(const Context& context, const Options& options);
int features(const Context& context, const Options& options);

}  // namespace grua::app
