#include "build/dockerfile/stages.hpp"

namespace grua::build::dockerfile {

Dockerfile read_dockerfile(std::string_view source) {
    if (source.empty()) throw SourceError("the Dockerfile cannot be empty", {});
    const ParsedFile parsed = parse(source);
    Dockerfile out{.escape = parsed.escape};
    for (const Node& node : parsed.nodes) append(out, read_line(node));
    check_complete(out);
    return out;
}

void append(Dockerfile& file, Instruction instruction) {
    if (std::holds_alternative<From>(instruction.body)) {
        file.stages.push_back({.head = std::move(instruction)});
    } else if (!file.stages.empty()) {
        file.stages.back().instructions.push_back(std::move(instruction));
    } else if (std::holds_alternative<Arg>(instruction.body)) {
        file.arguments.push_back(std::move(instruction));
    } else {
        throw SourceError("no build stage in current context", instruction.lines);
    }
}

Instruction read_line(const Node& node) {
    try {
        return read_instruction(node);
    } catch (const SourceError& error) {
        throw SourceError(fmt::format("dockerfile parse error on line {}: {}", node.lines.first, error.what()), error.lines());
    }
}

void check_complete(const Dockerfile& file) {
    if (file.stages.empty()) throw SourceError("dockerfile contains no stages to build", {});
}

}  // namespace grua::build::dockerfile
