// What a client asks about a Dockerfile in place of a build (`requestid`), and what it is answered: a document in JSON, the same for
// people, and the version of the form. Shapes and texts are BuildKit's.
#pragma once

#include "build/dockerfile/lint.hpp"
#include "build/dockerfile/outline.hpp"
#include "build/dockerfile/targets.hpp"
#include "build/wire/graph.pb.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build::dockerfile {

struct Answer {
    std::string json;
    std::string text;
    std::string version;
    std::optional<int> status;  ///< With which the client ends; lint alone says so.
};

enum class Request { lint, outline, targets, describe };

/// "frontend.lint" and the like; nothing for one that is not known.
std::optional<Request> parse_request(std::string_view id);

/// `file`: the Dockerfile, with its name and with what has loaded it. Warnings are told in the order of their lines.
Answer lint_answer(const LintResult& found, const wire::graph::SourceInfo& file);
Answer outline_answer(const Outline& outline, std::string_view source);
Answer targets_answer(const std::vector<Target>& targets, std::string_view source);
/// Which requests there are.
Answer describe_answer();

/// A text for people has no more of warnings.
inline constexpr std::size_t lint_text_limit = std::size_t{1} << 20U;

}  // namespace grua::build::dockerfile
