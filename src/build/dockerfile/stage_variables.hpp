// The variables of a stage, as its instructions set them one after the other. A builder and lint have them from here.
#pragma once

#include "build/dockerfile/expansion.hpp"
#include "build/dockerfile/instructions.hpp"

#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace grua::build::dockerfile {

/// The PATH of a stage whose image has none.
inline constexpr std::string_view default_path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// Arguments of the builder itself, which are no variables of a stage.
inline constexpr std::string_view scans_context_argument = "BUILDKIT_SBOM_SCAN_CONTEXT";
inline constexpr std::string_view scans_stage_argument = "BUILDKIT_SBOM_SCAN_STAGE";

/// What is the same for all stages of a file.
struct VariableSources {
    VariableSources(const std::map<std::string, std::string, std::less<>>& its_given, const Environment& its_globals, char escape)
        : given(its_given), globals(its_globals), words({.escape = escape}), heredocs({.quotes_plain = true}) {}

    const std::map<std::string, std::string, std::less<>>& given;  ///< --build-arg
    const Environment& globals;                                    ///< Of global_arguments().
    Expander words;
    Expander heredocs;  ///< Quotes mean nothing in them, and their escape character is always a backslash.
};

/// Told the name of a variable that is neither set nor declared, before the instruction sets anything.
using OnMissing = std::function<void(const std::string& name)>;

/// A copy costs nothing: a stage begins with those of its base.
class StageVariables {
public:
    /// Of an image: NAME=VALUE.
    void set(std::string_view variable);
    void set_default_path();

    const Environment& all() const noexcept { return variables_; }

    /// The instruction with its variables replaced; what ENV and ARG set holds for the next one. An ARG has the value that counts: that
    /// which was given, else its default, else that of an ARG before the first FROM; nothing where there is none. Throws SourceError.
    Instruction take(const Instruction& instruction, VariableSources& sources, const OnMissing& missing = {});

private:
    std::string expand(Expander& expander, std::string_view text, const OnMissing& missing) const;
    void declare(Arg& arg, VariableSources& sources, const OnMissing& missing);

    Environment variables_;
    Environment declared_;  ///< Names of arguments, with a value or without.
};

}  // namespace grua::build::dockerfile
