// A Dockerfile as its stages.
#pragma once

#include "build/dockerfile/instructions.hpp"

#include <string_view>
#include <vector>

namespace grua::build::dockerfile {

struct Stage {
    Instruction head;  ///< FROM.
    std::vector<Instruction> instructions;

    const From& from() const { return std::get<From>(head.body); }
};

struct Dockerfile {
    char escape = '\\';
    std::vector<Instruction> arguments;  ///< ARG before the first FROM: for FROM lines, and for stages that declare them again.
    std::vector<Stage> stages;           ///< One at least.
};

/// Throws SourceError with BuildKit's texts: "dockerfile parse error on line 3: unknown instruction: RUNN (did you mean RUN?)".
Dockerfile read_dockerfile(std::string_view source);

/// Puts an instruction, the next in the file, where it belongs. Throws SourceError.
void append(Dockerfile& file, Instruction instruction);

/// read_instruction() with the line in the text of its error.
Instruction read_line(const Node& node);

/// Throws where there is no stage.
void check_complete(const Dockerfile& file);

}  // namespace grua::build::dockerfile
