#include "build/dockerfile/lint_stage.hpp"

#include "base/text.hpp"
#include "build/dockerfile/ports.hpp"
#include "build/dockerfile/suggestion.hpp"

#include <algorithm>
#include <array>

namespace grua::build::dockerfile::detail {
namespace {

/// True where one of the words stands in `key` between underscores or its ends.
bool has_word(std::string_view key, std::span<const std::string_view> words) {
    while (true) {
        const std::size_t end = std::min(key.find('_'), key.size());
        if (std::ranges::find(words, key.substr(0, end)) != words.end()) return true;
        if (end == key.size()) return false;
        key.remove_prefix(end + 1);
    }
}

/// What ADD downloads or clones.
bool is_remote(std::string_view source) {
    return std::ranges::any_of(std::to_array<std::string_view>({"http://", "https://", "git://", "ssh://", "git@"}),
                               [&](std::string_view prefix) { return source.starts_with(prefix); });
}

/// A source that is the whole context is left out by these alone.
bool leaves_out_everything(const IgnoreFile& file) {
    return std::ranges::any_of(file.rules(), [](const IgnoreFile::Rule& rule) {
        const std::string& text = rule.pattern.text();
        return text == "*" || text == "**" || text == "**/*";
    });
}

}  // namespace

bool names_a_secret(std::string_view key) {
    static constexpr std::array<std::string_view, 10> secret{"apikey",   "auth",  "credential", "credentials", "key",
                                                             "password", "pword", "passwd",     "secret",      "token"};
    static constexpr std::array<std::string_view, 3> harmless{"public", "file", "version"};
    const std::string lower = to_lower(key);
    return has_word(lower, secret) && !has_word(lower, harmless);
}

void Reporter::report(const LintConfig& config, Rule rule, LineRange lines, std::string detail) {
    if (!config.holds(rule) || warnings_.size() >= lint_warning_limit) return;
    warnings_.push_back({.rule = rule, .detail = std::move(detail), .lines = lines});
}

StageLint::StageLint(const StageLintInputs& common, Reporter& reporter, StageState state)
    : common_(common), reporter_(reporter), state_(std::move(state)) {}

void StageLint::report(Rule rule, const Instruction& instruction, std::string detail) {
    reporter_.report(own_config_ ? *own_config_ : common_.config, rule, instruction.lines, std::move(detail));
}

void StageLint::report_missing(const Instruction& instruction, const std::string& name) {
    if (!state_.is_known) return;
    std::string meant;
    if (reporter_.has_room_for_suggestions()) meant = suggestion(name, state_.variables.all().names(suggestion_limit), Case::matters);
    report(Rule::undefined_var, instruction,
           fmt::format("Usage of undefined variable '${}'{}", name, meant.empty() ? "" : fmt::format(" (did you mean ${}?)", meant)));
}

void StageLint::look_at(const Instruction& given) {
    own_config_.reset();
    if (has_check(given.comments)) own_config_.emplace(common_.config).merge_comments(given.comments);
    if (const Arg* arg = std::get_if<Arg>(&given.body)) {
        for (const Arg::Declared& declared : arg->declared) check_secret(given, "ARG", declared.key);
    }
    const Instruction instruction =
        state_.variables.take(given, common_.sources, [&](const std::string& name) { report_missing(given, name); });
    at_lines(given.lines, [&] { std::visit([&](const auto& body) { visit(instruction, body); }, instruction.body); });
}

void StageLint::visit(const Instruction& instruction, const Add& add) { check_sources(instruction, add.sources, "Add"); }

void StageLint::visit(const Instruction& instruction, const Copy& copy) {
    if (copy.from.empty()) check_sources(instruction, copy.sources, "Copy");
}

void StageLint::check_sources(const Instruction& instruction, const Sources& sources, std::string_view verb) {
    // With exceptions an ignored folder may still have something in it.
    const IgnoreFile* ignore = common_.inputs.ignore;
    if (!ignore || ignore->has_exceptions()) return;
    for (const std::string& source : sources.paths) {
        if (verb == "Add" && is_remote(source)) continue;
        const std::string path = clean_path(source);
        if ((path == "." || path == "/") && !leaves_out_everything(*ignore)) continue;
        if (!ignore->ignores(path)) continue;
        report(Rule::copy_ignored_file, instruction,
               fmt::format("Attempting to {} file {} that is excluded by .dockerignore", verb, in_quotes(path)));
    }
}

void StageLint::visit(const Instruction& instruction, const Env& env) {
    check_legacy(instruction, env.pairs);
    for (const KeyValue& pair : env.pairs) check_secret(instruction, "ENV", pair.key);
}

void StageLint::visit(const Instruction& instruction, const Label& label) { check_legacy(instruction, label.pairs); }

void StageLint::check_legacy(const Instruction& instruction, const std::vector<KeyValue>& pairs) {
    for (const KeyValue& pair : pairs) {
        if (!pair.legacy) continue;
        report(Rule::legacy_key_value_format, instruction,
               fmt::format("\"{0} key=value\" should be used instead of legacy \"{0} key value\" format", instruction.keyword));
    }
}

void StageLint::check_secret(const Instruction& instruction, std::string_view keyword, std::string_view key) {
    if (!names_a_secret(key)) return;
    report(Rule::secrets_used_in_arg_or_env, instruction,
           fmt::format("Do not use ARG or ENV instructions for sensitive data ({} {})", keyword, in_quotes(key)));
}

void StageLint::visit(const Instruction& instruction, const Cmd& cmd) {
    check_once(instruction, cmd_);
    check_shell(instruction, cmd.command);
}

void StageLint::visit(const Instruction& instruction, const Entrypoint& entrypoint) {
    check_once(instruction, entrypoint_);
    check_shell(instruction, entrypoint.command);
}

void StageLint::visit(const Instruction& instruction, const Healthcheck&) { check_once(instruction, healthcheck_); }

// The one before is the one that does nothing.
void StageLint::check_once(const Instruction& instruction, LineRange& before) {
    if (before.first > 0) {
        reporter_.report(own_config_ ? *own_config_ : common_.config, Rule::multiple_instructions_disallowed, before,
                         fmt::format("Multiple {} instructions should not be used in the same stage because only the last one will be used",
                                     instruction.keyword));
    }
    before = instruction.lines;
}

void StageLint::check_shell(const Instruction& instruction, const CommandLine& command) {
    if (!command.in_shell || state_.has_shell) return;
    report(Rule::json_args_recommended, instruction,
           fmt::format("JSON arguments recommended for {} to prevent unintended behavior related to OS signals", instruction.keyword));
}

void StageLint::visit(const Instruction&, const Shell&) { state_.has_shell = true; }

void StageLint::visit(const Instruction& instruction, const Workdir& workdir) {
    if (!state_.has_workdir && !workdir.path.starts_with('/')) {
        report(Rule::workdir_relative_path, instruction,
               fmt::format("Relative workdir {} can have unexpected results if the base image changes", in_quotes(workdir.path)));
    }
    state_.has_workdir = true;
}

void StageLint::visit(const Instruction& instruction, const Expose& expose) {
    for (const std::string& text : expose.ports) {
        const ExposedPort port = parse_port(text);
        if (port.odd_casing) {
            report(Rule::expose_proto_casing, instruction,
                   fmt::format("Defined protocol '{}' in EXPOSE instruction should be lowercase", text));
        }
        if (port.is_mapping) {
            report(Rule::expose_invalid_format, instruction,
                   fmt::format("EXPOSE instruction should not define an IP address or host-port mapping, found '{}'", text));
        }
    }
}

}  // namespace grua::build::dockerfile::detail
