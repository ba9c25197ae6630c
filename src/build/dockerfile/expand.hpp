// Which instructions expand what.
#pragma once

#include "build/dockerfile/instructions.hpp"

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build::dockerfile {

/// How words are expanded where an instruction stands.
struct Expansions {
    std::function<std::string(std::string_view)> word;
    std::function<std::vector<std::string>(std::string_view)> words;  ///< One word may become several.
    std::function<std::string(std::string_view)> heredoc;             ///< Quotes mean nothing, and the escape character is a backslash.
};

/// Replaces the variables of an instruction:
///   ADD, COPY            owner, mode, checksum, sources, destination, and heredocs whose name is not quoted
///   ENV, LABEL           names and values
///   RUN                  the values of --mount; its command has its variables from its shell
///   EXPOSE               a port may become several
///   STOPSIGNAL, USER, VOLUME, WORKDIR
/// ARG is not touched: a default counts only where nothing else is given. The others expand nothing. Throws SourceError.
void expand(Instruction& instruction, const Expansions& expansions);

}  // namespace grua::build::dockerfile
