// What --call and --check print.
#pragma once

#include "cli/build/options.hpp"

namespace grua::cli {

/// The text for standard output and the exit status. Throws Error where the front end could not read the Dockerfile, with the place.
struct CallResult {
    std::string text;
    int status = 0;
};
CallResult read_call(const BuildCall& call, const Words& response);

/// Prints it; the exit status.
int show_call(const BuildCall& call, const Words& response);

}  // namespace grua::cli
