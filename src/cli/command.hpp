// A command as data: its names, arguments, options and texts. Parsing, help, completion and the man pages all come from this table.
#pragma once

#include "cli/flags.hpp"

#include <array>
#include <span>

namespace grua::cli {

class Context;

struct Command {
    /// The first is the one that help shows; the others are aliases, as "container ls" of "ps".
    std::array<const char*, 5> names{};
    const char* usage = "";  ///< Behind the name: "[OPTIONS] CONTAINER [CONTAINER...]".
    const char* brief = "";
    const char* details = "";
    const char* examples = "";
    std::array<std::span<const Flag>, 2> flags{};
    std::size_t least = 0;
    std::size_t most = 0;
    Interspersed interspersed = Interspersed::yes;
    Completes completes = Completes::nothing;
    int (*run)(Context& context, const Parsed& given) = nullptr;
    bool hidden = false;
};

inline constexpr std::size_t any_number = 1'000'000;

std::span<const Command> commands();
std::span<const Flag> global_flags();

/// "container", "image" …: words that need another one.
struct Group {
    const char* name;
    const char* brief;
};
std::span<const Group> groups();

}  // namespace grua::cli
