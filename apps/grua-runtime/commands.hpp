// The commands as data: name, options, what runs.
#pragma once

#include "options.hpp"

#include <span>
#include <string>

namespace grua::app {

struct Context {
    std::string root;
};

struct Command {
    std::string_view name;
    std::string_view help;
    std::span<const Flag> flags;
    bool needs_protection;  ///< Runs something in the container: see protect_binary().
    int (*run)(const Context&, const Options&);
};

std::span<const Command> commands();

}  // namespace grua::app
