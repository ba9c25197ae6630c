// `docker build --check`: what is allowed in a Dockerfile and should not be there.
#pragma once

#include "build/dockerfile/base_image.hpp"
#include "build/dockerfile/lint_rules.hpp"
#include "build/dockerfile/stage_graph.hpp"
#include "build/ignore_file.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build::dockerfile {

/// No more warnings are kept.
inline constexpr std::size_t lint_warning_limit = 10'000;
/// No more triggers of ONBUILD are looked at, in all stages.
inline constexpr std::size_t lint_trigger_limit = 10'000;

struct LintInputs {
    BuildInputs build;  ///< Without a target all stages are looked at.

    /// Of an image that is not known, or cannot be had, UndefinedVar says nothing about the stages that are made from it.
    FindBaseImage base_image;

    const IgnoreFile* ignore = nullptr;  ///< For CopyIgnoredFile.

    std::optional<LintConfig> config;  ///< In place of the file's own `# check=`.
};

struct LintResult {
    std::vector<LintWarning> warnings;  ///< In BuildKit's order: those of the file, then those of its stages.
    std::optional<SourceError> error;   ///< What would fail the build; warnings up to there are kept, all of them for a missing image.
    bool warnings_are_errors = false;

    /// "lint violation found for rules: A, B" where warnings are errors and there are any; empty otherwise.
    std::string violation() const;
};

LintResult lint(std::string_view source, const LintInputs& inputs);

/// "StageNameCasing: Stage name 'A' should be lowercase (line 3)"
std::string short_text(const LintWarning& warning);

}  // namespace grua::build::dockerfile
