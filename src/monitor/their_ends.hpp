// How a program of a container and its monitor are connected: pipes, or a terminal.
#pragma once

#include "base/fd.hpp"
#include "monitor/program.hpp"
#include "runtime/container.hpp"

namespace grua::monitor {

/// The program's ends, for as long as it is being made.
struct TheirEnds {
    Fd in;
    Fd out;
    Fd err;
    runtime::Stdio stdio() const { return {.in = in.get(), .out = out.get(), .err = err.get()}; }
};

TheirEnds make_pipes(Program& program, bool with_input);
void use_terminal(Program& program, Fd master, bool with_input);

Fd duplicate(const Fd& fd);

}  // namespace grua::monitor
