// The rules of `docker build --check`, and what a Dockerfile says about them.
#pragma once

#include "build/dockerfile/source.hpp"

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build::dockerfile {

enum class Rule : std::uint8_t {
    stage_name_casing,
    from_as_casing,
    no_empty_continuation,
    consistent_instruction_casing,
    duplicate_stage_name,
    reserved_stage_name,
    json_args_recommended,
    maintainer_deprecated,
    undefined_arg_in_from,
    workdir_relative_path,
    undefined_var,
    multiple_instructions_disallowed,
    legacy_key_value_format,
    invalid_base_image_platform,
    redundant_target_platform,
    secrets_used_in_arg_or_env,
    invalid_default_arg_in_from,
    from_platform_flag_const_disallowed,
    copy_ignored_file,
    invalid_definition_description,
    expose_proto_casing,
    expose_invalid_format,
};

struct RuleText {
    Rule rule;
    std::string_view name;  ///< "StageNameCasing"
    std::string_view description;
    std::string_view url;  ///< May be empty.
    bool experimental = false;
};

/// In the order of Rule.
std::span<const RuleText> lint_rules() noexcept;
const RuleText& about(Rule rule) noexcept;

struct LintWarning {
    Rule rule;
    std::string detail;  ///< What is wrong here.
    LineRange lines;

    friend bool operator==(const LintWarning&, const LintWarning&) = default;
};

/// Which rules hold: `# check=skip=A,B;error=true;experimental=C`, with "all" in place of names.
struct LintConfig {
    bool skip_all = false;
    std::set<std::string, std::less<>> skip;
    bool experimental_all = false;
    std::set<std::string, std::less<>> experimental;
    bool error = false;  ///< A warning fails the build.

    /// Throws Error(invalid_argument).
    static LintConfig parse(std::string_view text);

    /// What a `check=` in the comments above an instruction adds, for it alone. One that is wrong adds nothing.
    void merge_comments(const std::vector<std::string>& comments);

    bool holds(Rule rule) const;
};

/// True where merge_comments() may change something.
bool has_check(const std::vector<std::string>& comments);

}  // namespace grua::build::dockerfile
