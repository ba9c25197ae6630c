#include "build/dockerfile/lint.hpp"

#include "base/text.hpp"
#include "build/dockerfile/directives.hpp"
#include "build/dockerfile/lint_stage.hpp"
#include "build/dockerfile/suggestion.hpp"
#include "oci/reference.hpp"

#include <algorithm>
#include <set>

namespace grua::build::dockerfile {
namespace {

/// Lint of one file, in the order in which BuildKit comes to its rules.
class FileLint {
public:
    FileLint(std::string_view source, const LintInputs& inputs, LintResult& out)
        : source_(source), inputs_(inputs), out_(out), reporter_(out.warnings) {}

    void run() {
        read_config();
        if (source_.empty()) throw SourceError("the Dockerfile cannot be empty", {});
        const ParsedFile parsed = parse(source_);
        for (const LineRange lines : parsed.empty_continuations) {
            reporter_.report(config_, Rule::no_empty_continuation, lines, "Empty continuation line");
        }
        file_.escape = parsed.escape;
        for (const Node& node : parsed.nodes) read_node(node);
        check_complete(file_);
        check_stage_names();
        check_casing();
        Expander expander({.escape = file_.escape});
        const Environment predefined = platform_arguments(file_, inputs_.build);
        check_defaults(predefined, expander);
        globals_ = global_arguments(file_, predefined, inputs_.build.arguments, expander);
        look_at_stages(expander);
        out_.error = missing_image_;
    }

private:
    void read_config() {
        if (inputs_.config) {
            config_ = *inputs_.config;
        } else if (const auto check = find_directive(source_, "check")) {
            at_lines({check->line, check->line},
                     [&] { while_doing("failed to parse check options", [&] { config_ = LintConfig::parse(check->first_word()); }); });
        }
        out_.warnings_are_errors = config_.error;
    }

    /// The configuration for what has these comments above it.
    LintConfig config_for(const std::vector<std::string>& comments) const {
        LintConfig out = config_;
        out.merge_comments(comments);
        return out;
    }

    void report(const Node& node, Rule rule, std::string detail) {
        reporter_.report(has_check(node.comments) ? config_for(node.comments) : config_, rule, node.lines, std::move(detail));
    }

    void read_node(const Node& node) {
        const std::string keyword = to_lower(node.keyword);
        if (keyword == "from") check_from_words(node);
        if (keyword == "maintainer") {
            report(node, Rule::maintainer_deprecated, "Maintainer instruction is deprecated in favor of using label");
        }
        Instruction instruction = read_line(node);
        if (const From* from = std::get_if<From>(&instruction.body); from && !from->name.empty()) {
            check_description(node, "FROM", {from->name});
        } else if (const Arg* arg = std::get_if<Arg>(&instruction.body)) {
            std::vector<std::string_view> keys;
            for (const Arg::Declared& declared : arg->declared) keys.push_back(declared.key);
            check_description(node, "ARG", keys);
        }
        append(file_, std::move(instruction));
    }

    void check_from_words(const Node& node) {
        const std::vector<std::string>& words = node.arguments;
        if (words.size() == 3 && words[2] != to_lower(words[2])) {
            report(node, Rule::stage_name_casing, fmt::format("Stage name '{}' should be lowercase", words[2]));
        }
        if (words.size() < 3) return;
        const bool is_lower = node.keyword == to_lower(node.keyword);
        if (!is_lower && node.keyword != to_upper(node.keyword)) return;  // Another rule says so.
        if (words[1] != (is_lower ? to_lower(words[1]) : to_upper(words[1]))) {
            report(node, Rule::from_as_casing, fmt::format("'{}' and '{}' keywords' casing do not match", words[1], node.keyword));
        }
    }

    void check_description(const Node& node, std::string_view keyword, const std::vector<std::string_view>& names) {
        if (node.comments.empty() || names.empty()) return;
        const std::string& last = node.comments.back();
        if (std::ranges::find(names, std::string_view(last).substr(0, last.find(' '))) != names.end()) return;
        report(node, Rule::invalid_definition_description,
               fmt::format("Comment for {} should follow the format: `# {} <description>`", keyword,
                           names.size() > 1 ? std::string_view("<arg_key>") : names.front()));
    }

    void check_stage_names() {
        std::set<std::string_view> seen;
        for (const Stage& stage : file_.stages) {
            const std::string& name = stage.from().name;
            if (name.empty()) continue;
            if (name == "context" || name == "scratch") {
                reporter_.report(config_, Rule::reserved_stage_name, stage.head.lines,
                                 fmt::format("Stage name should not use the same name as reserved stage {}", in_quotes(name)));
            }
            if (!seen.insert(name).second) {
                reporter_.report(config_, Rule::duplicate_stage_name, stage.head.lines,
                                 fmt::format("Duplicate stage name {}, stage names should be unique", in_quotes(name)));
            }
        }
    }

    template <typename Body>
    void for_each_instruction(Body&& body) const {
        for (const Stage& stage : file_.stages) {
            body(stage.head);
            for (const Instruction& instruction : stage.instructions) body(instruction);
        }
    }

    void check_casing() {
        std::size_t lower = 0;
        std::size_t upper = 0;
        for_each_instruction([&](const Instruction& instruction) {
            const std::string& word = instruction.keyword;
            lower += word == to_lower(word) ? 1 : 0;
            upper += word == to_upper(word) ? 1 : 0;
        });
        const bool should_be_lower = lower > upper;
        for_each_instruction([&](const Instruction& instruction) {
            const std::string& word = instruction.keyword;
            if (word == (should_be_lower ? to_lower(word) : to_upper(word))) return;
            reporter_.report(config_, Rule::consistent_instruction_casing, instruction.lines,
                             fmt::format("Command '{}' should match the case of the command majority ({})", word,
                                         should_be_lower ? "lowercase" : "uppercase"));
        });
    }

    // As if nobody gave an argument. What fails here fails again, where it is told.
    void check_defaults(const Environment& predefined, Expander& expander) {
        try {
            const Environment defaults = global_arguments(file_, predefined, {}, expander);
            for (const Stage& stage : file_.stages) {
                const std::string base = expander.expand(stage.from().base, defaults).text;
                if (is_reference(base)) continue;
                reporter_.report(config_, Rule::invalid_default_arg_in_from, stage.head.lines,
                                 fmt::format("Default value for ARG {} results in empty or invalid base image name", stage.from().base));
            }
        } catch (const Error&) {  // See above.
        }
    }

    static bool is_reference(const std::string& text) {
        try {
            static_cast<void>(oci::Reference::parse(text));
            return true;
        } catch (const Error&) {
            return false;
        }
    }

    void look_at_stages(Expander& expander) {
        Environment declared = globals_;
        for (const Instruction& instruction : file_.arguments) {
            for (const Arg::Declared& one : std::get<Arg>(instruction.body).declared) declared.set(one.key, "");
        }
        StageGraph graph{file_};
        for (const Stage& stage : file_.stages) {
            const ExpandedFrom from = expand_from(stage, globals_, expander);
            check_from(stage, from, declared);
            graph.add(from, globals_);
        }
        const std::size_t target = graph.target(inputs_.build.target);
        graph.connect(expander);
        const bool all = inputs_.build.target.empty();
        const std::vector<bool> needed = graph.needed_for(target);
        VariableSources sources{inputs_.build.arguments, globals_, file_.escape};
        const detail::StageLintInputs common{inputs_, config_, sources};
        std::vector<detail::StageState> states(file_.stages.size());
        for (std::size_t index = 0; index < file_.stages.size(); ++index) {
            if (all || needed[index]) states[index] = look_at_stage(graph, index, common, states);
        }
    }

    void check_from(const Stage& stage, const ExpandedFrom& from, const Environment& declared) {
        const LintConfig config = config_for(stage.head.comments);
        report_undeclared(stage, from.base, declared, config);
        if (!from.platform || from.base.text.empty()) return;
        report_undeclared(stage, *from.platform, declared, config);
        const Expanded& platform = *from.platform;
        const std::string* target = globals_.find("TARGETPLATFORM");
        if (platform.missing.empty() && platform.used == std::vector<std::string>{"TARGETPLATFORM"} && target && platform.text == *target) {
            reporter_.report(config, Rule::redundant_target_platform, stage.head.lines,
                             fmt::format("Setting platform to predefined {} in FROM is redundant as this is the default behavior",
                                         stage.from().platform));
        }
        if (platform.used.empty() && platform.missing.empty() && !is_named_after(stage.from().name, platform.text)) {
            reporter_.report(config, Rule::from_platform_flag_const_disallowed, stage.head.lines,
                             fmt::format("FROM --platform flag should not use constant value {}", in_quotes(platform.text)));
        }
    }

    void report_undeclared(const Stage& stage, const Expanded& expanded, const Environment& declared, const LintConfig& config) {
        for (const std::string& name : expanded.missing) {
            if (declared.contains(name)) continue;
            std::string meant;
            if (reporter_.has_room_for_suggestions()) meant = did_you_mean(name, declared.names(suggestion_limit));
            reporter_.report(config, Rule::undefined_arg_in_from, stage.head.lines,
                             fmt::format("FROM argument '{}' is not declared{}", name, meant));
        }
    }

    /// A stage whose name says for what it is may be for that alone. So may one whose platform is none, which is an error of its own.
    static bool is_named_after(std::string_view name, const std::string& text) {
        try {
            const oci::Platform platform = oci::Platform::parse(text);
            return name.contains(platform.os) || name.contains(platform.architecture);
        } catch (const Error&) {
            return true;
        }
    }

    detail::StageState look_at_stage(const StageGraph& graph, std::size_t index, const detail::StageLintInputs& common,
                                     const std::vector<detail::StageState>& states) {
        const Stage& stage = file_.stages[index];
        const StageNode& node = graph.stages()[index];
        detail::StageState state;
        std::vector<std::string> triggers;
        if (node.base_stage) {
            state = states[*node.base_stage];
            triggers = triggers_of(file_.stages[*node.base_stage]);
        } else {
            triggers = begin_with_image(stage, node, state);
        }
        state.variables.set_default_path();
        detail::StageLint walk{common, reporter_, std::move(state)};
        for (const std::string& trigger : triggers) {
            if (triggers_seen_++ < lint_trigger_limit) walk.look_at(read_trigger(trigger, stage.head.lines));
        }
        for (std::size_t at = 0; at < stage.instructions.size(); ++at) {
            check_order(graph, index, at);
            walk.look_at(stage.instructions[at]);
        }
        return walk.take();
    }

    std::vector<std::string> triggers_of(const Stage& stage) const {
        std::vector<std::string> out;
        if (triggers_seen_ >= lint_trigger_limit) return out;
        for (const Instruction& instruction : stage.instructions) {
            if (const OnBuild* onbuild = std::get_if<OnBuild>(&instruction.body)) out.push_back(onbuild->expression);
        }
        return out;
    }

    std::vector<std::string> begin_with_image(const Stage& stage, const StageNode& node, detail::StageState& state) {
        if (node.base == "scratch") return {};
        const oci::Platform& platform = node.platform ? *node.platform : inputs_.build.target_platform;
        const auto image = find_image(stage, node.base, platform);
        state.is_known = image.has_value();
        if (!image) return {};
        for (const std::string& variable : image->env) state.variables.set(variable);
        state.has_shell = image->has_shell;
        if (image->platform && (image->platform->os != platform.os || image->platform->architecture != platform.architecture)) {
            reporter_.report(config_, Rule::invalid_base_image_platform, stage.head.lines,
                             fmt::format("Base image {} was pulled with platform {}, expected {} for current build", node.base,
                                         in_quotes(image->platform->text()), in_quotes(platform.text())));
        }
        return image->on_build;
    }

    std::optional<BaseImage> find_image(const Stage& stage, const std::string& name, const oci::Platform& platform) {
        if (!inputs_.base_image) return std::nullopt;
        try {
            return inputs_.base_image(name, platform);
        } catch (const Error& error) {
            if (!missing_image_) missing_image_ = SourceError(fmt::format("{}: {}", name, error.what()), stage.head.lines);
            return std::nullopt;
        }
    }

    /// What an instruction takes files from must be built before it.
    void check_order(const StageGraph& graph, std::size_t index, std::size_t at) {
        const StageNode& node = graph.stages()[index];
        const auto [first, last] = std::ranges::equal_range(node.sources, at, {}, &StageNode::Source::instruction);
        for (auto source = first; source != last; ++source) {
            if (!source->stage || *source->stage < index) continue;
            const Instruction& instruction = file_.stages[index].instructions[at];
            if (std::holds_alternative<Copy>(instruction.body)) {
                throw SourceError(fmt::format("cannot copy from stage {}, it needs to be defined before current stage {}",
                                              in_quotes(source->from), in_quotes(node.name)),
                                  instruction.lines);
            }
            throw SourceError(fmt::format("cannot mount from stage {} to {}, stage needs to be defined before current command",
                                          in_quotes(source->from), in_quotes(mount_target(std::get<Run>(instruction.body), source->from))),
                              instruction.lines);
        }
    }

    /// As it is written.
    static std::string mount_target(const Run& run, std::string_view from) {
        const auto found = std::ranges::find(run.mount_sources, from);
        if (found == run.mount_sources.end()) return {};
        const std::string& flag = run.mount_flags[static_cast<std::size_t>(found - run.mount_sources.begin())];
        return parse_mount(flag, [](std::string_view word) { return std::string(word); }).target;
    }

    std::string_view source_;
    const LintInputs& inputs_;
    LintResult& out_;
    detail::Reporter reporter_;
    LintConfig config_;
    Dockerfile file_;
    Environment globals_;
    std::size_t triggers_seen_ = 0;
    std::optional<SourceError> missing_image_;  ///< The first.
};

}  // namespace

std::string LintResult::violation() const {
    if (!warnings_are_errors || warnings.empty()) return {};
    std::set<std::string> names;
    for (const LintWarning& warning : warnings) names.emplace(about(warning.rule).name);
    return "lint violation found for rules: " + join({names.begin(), names.end()}, ", ");
}

LintResult lint(std::string_view source, const LintInputs& inputs) {
    LintResult out;
    try {
        FileLint(source, inputs, out).run();
    } catch (const SourceError& error) {
        out.error = error;
    } catch (const Error& error) {
        out.error = SourceError(error.what(), {});
    }
    return out;
}

std::string short_text(const LintWarning& warning) {
    std::string out = fmt::format("{}: {}", about(warning.rule).name, warning.detail);
    if (warning.lines.first > 0) out += fmt::format(" (line {})", warning.lines.first);
    return out;
}

}  // namespace grua::build::dockerfile
