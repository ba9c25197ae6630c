#include "build/dockerfile/lint_rules.hpp"

#include "base/text.hpp"
#include "build/dockerfile/directives.hpp"

#include <algorithm>
#include <array>
#include <optional>

namespace grua::build::dockerfile {
namespace {

// Names, descriptions and addresses are what tools that read the output of a check look for.
constexpr auto texts = std::to_array<RuleText>({
    {Rule::stage_name_casing, "StageNameCasing", "Stage names should be lowercase",
     "https://docs.docker.com/go/dockerfile/rule/stage-name-casing/"},
    {Rule::from_as_casing, "FromAsCasing", "The 'as' keyword should match the case of the 'from' keyword",
     "https://docs.docker.com/go/dockerfile/rule/from-as-casing/"},
    {Rule::no_empty_continuation, "NoEmptyContinuation", "Empty continuation lines will become errors in a future release",
     "https://docs.docker.com/go/dockerfile/rule/no-empty-continuation/"},
    {Rule::consistent_instruction_casing, "ConsistentInstructionCasing",
     "All commands within the Dockerfile should use the same casing (either upper or lower)",
     "https://docs.docker.com/go/dockerfile/rule/consistent-instruction-casing/"},
    {Rule::duplicate_stage_name, "DuplicateStageName", "Stage names should be unique",
     "https://docs.docker.com/go/dockerfile/rule/duplicate-stage-name/"},
    {Rule::reserved_stage_name, "ReservedStageName", "Reserved words should not be used as stage names",
     "https://docs.docker.com/go/dockerfile/rule/reserved-stage-name/"},
    {Rule::json_args_recommended, "JSONArgsRecommended",
     "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
     "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/"},
    {Rule::maintainer_deprecated, "MaintainerDeprecated",
     "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
     "https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/"},
    {Rule::undefined_arg_in_from, "UndefinedArgInFrom", "FROM command must use declared ARGs",
     "https://docs.docker.com/go/dockerfile/rule/undefined-arg-in-from/"},
    {Rule::workdir_relative_path, "WorkdirRelativePath",
     "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes",
     "https://docs.docker.com/go/dockerfile/rule/workdir-relative-path/"},
    {Rule::undefined_var, "UndefinedVar", "Variables should be defined before their use",
     "https://docs.docker.com/go/dockerfile/rule/undefined-var/"},
    {Rule::multiple_instructions_disallowed, "MultipleInstructionsDisallowed",
     "Multiple instructions of the same type should not be used in the same stage",
     "https://docs.docker.com/go/dockerfile/rule/multiple-instructions-disallowed/"},
    {Rule::legacy_key_value_format, "LegacyKeyValueFormat", "Legacy key/value format with whitespace separator should not be used",
     "https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/"},
    {Rule::invalid_base_image_platform, "InvalidBaseImagePlatform", "Base image platform does not match expected target platform", ""},
    {Rule::redundant_target_platform, "RedundantTargetPlatform",
     "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
     "https://docs.docker.com/go/dockerfile/rule/redundant-target-platform/"},
    {Rule::secrets_used_in_arg_or_env, "SecretsUsedInArgOrEnv", "Sensitive data should not be used in the ARG or ENV commands",
     "https://docs.docker.com/go/dockerfile/rule/secrets-used-in-arg-or-env/"},
    {Rule::invalid_default_arg_in_from, "InvalidDefaultArgInFrom",
     "Default value for global ARG results in an empty or invalid base image name",
     "https://docs.docker.com/go/dockerfile/rule/invalid-default-arg-in-from/"},
    {Rule::from_platform_flag_const_disallowed, "FromPlatformFlagConstDisallowed", "FROM --platform flag should not use a constant value",
     "https://docs.docker.com/go/dockerfile/rule/from-platform-flag-const-disallowed/"},
    {Rule::copy_ignored_file, "CopyIgnoredFile", "Attempting to Copy file that is excluded by .dockerignore",
     "https://docs.docker.com/go/dockerfile/rule/copy-ignored-file/", true},
    {Rule::invalid_definition_description, "InvalidDefinitionDescription",
     "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a "
     "description comment, add an empty line or comment between the instruction and the comment.",
     "https://docs.docker.com/go/dockerfile/rule/invalid-definition-description/", true},
    {Rule::expose_proto_casing, "ExposeProtoCasing", "Protocol in EXPOSE instruction should be lowercase",
     "https://docs.docker.com/go/dockerfile/rule/expose-proto-casing/"},
    {Rule::expose_invalid_format, "ExposeInvalidFormat",
     "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release",
     "https://docs.docker.com/go/dockerfile/rule/expose-invalid-format/"},
});

static_assert([] {
    for (std::size_t index = 0; index < texts.size(); ++index) {
        if (static_cast<std::size_t>(texts[index].rule) != index) return false;
    }
    return true;
}());

std::set<std::string, std::less<>> names_of(std::string_view text) {
    std::set<std::string, std::less<>> out;
    for (const std::string& name : split(text, ',')) out.emplace(dockerfile::trim(name));
    return out;
}

bool truth_of(std::string_view option, std::string_view value) {
    const Truth truth = parse_truth(value);
    if (truth == Truth::unknown) {
        fail(ErrorKind::invalid_argument, "failed to parse check option {}: strconv.ParseBool: parsing {}: invalid syntax",
             in_quotes(option), in_quotes(value));
    }
    return truth == Truth::yes;
}

/// Up to three parts; what is behind the second sign is the third, with whatever it has in it.
std::vector<std::string_view> options_of(std::string_view text) {
    std::vector<std::string_view> out;
    while (out.size() < 2 && text.contains(';')) {
        out.push_back(text.substr(0, text.find(';')));
        text.remove_prefix(out.back().size() + 1);
    }
    out.push_back(text);
    return out;
}

std::optional<std::string> check_in(std::string_view comment) {
    DirectiveReader reader{""};
    const auto directive = reader.read(comment);
    if (!directive || directive->name != "check") return std::nullopt;
    return directive->first_word();
}

}  // namespace

std::span<const RuleText> lint_rules() noexcept { return texts; }

const RuleText& about(Rule rule) noexcept { return texts[static_cast<std::size_t>(rule)]; }

LintConfig LintConfig::parse(std::string_view text) {
    LintConfig out;
    text = dockerfile::trim(text);
    if (text.empty()) return out;
    for (const std::string_view option : options_of(text)) {
        const std::size_t sign = option.find('=');
        if (sign == std::string_view::npos) fail(ErrorKind::invalid_argument, "invalid check option {}", in_quotes(option));
        const std::string_view key = dockerfile::trim(option.substr(0, sign));
        const std::string_view value = dockerfile::trim(option.substr(sign + 1));
        if (key == "skip") {
            out.skip_all = value == "all";
            if (!out.skip_all) out.skip = names_of(value);
        } else if (key == "experimental") {
            out.experimental_all = value == "all";
            if (!out.experimental_all) out.experimental = names_of(value);
        } else if (key == "error") {
            out.error = truth_of(option, value);
        } else {
            fail(ErrorKind::invalid_argument, "invalid check option {}", in_quotes(key));
        }
    }
    return out;
}

bool has_check(const std::vector<std::string>& comments) {
    return std::ranges::any_of(comments, [](const std::string& comment) { return check_in(comment).has_value(); });
}

void LintConfig::merge_comments(const std::vector<std::string>& comments) {
    for (const std::string& comment : comments) {
        const auto check = check_in(comment);
        if (!check) continue;
        try {
            LintConfig other = parse(*check);
            skip_all = skip_all || other.skip_all;
            experimental_all = experimental_all || other.experimental_all;
            skip.merge(other.skip);
            experimental.merge(other.experimental);
        } catch (const Error&) {  // It is a comment then.
        }
        return;
    }
}

bool LintConfig::holds(Rule rule) const {
    const RuleText& text = about(rule);
    if (text.experimental) return experimental_all || experimental.contains(text.name);
    return !skip_all && !skip.contains(text.name);
}

}  // namespace grua::build::dockerfile
