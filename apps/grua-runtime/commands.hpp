// The commands as data: name, options, how many words, what runs.
#pragma once

#include "base/options.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace grua::app {

/// Whether a container may go without the cgroup that its user may not make; by itself where the user is not root.
enum class Rootless : std::uint8_t { automatic, yes, no };

struct Context {
    std::string root;
    Rootless rootless = Rootless::automatic;
};

/// Of a command's arguments, the ID included.
struct WordCount {
    std::size_t least;
    std::size_t most;
};
inline constexpr std::size_t any_number = ~std::size_t{0};

struct Command {
    std::string_view name;
    std::string_view words;  ///< For the help: "ID [SIGNAL]".
    std::string_view help;
    std::span<const OptionRule> options;
    WordCount count;
    OptionsEnd options_end;
    bool needs_protection;  ///< Runs something in the container: see protect_binary().
    int (*run)(const Context&, const Options&);
};

std::span<const Command> commands();

}  // namespace grua::app
