// Lint's walk over the instructions of a stage.
#pragma once

#include "build/dockerfile/lint.hpp"
#include "build/dockerfile/stage_variables.hpp"

namespace grua::build::dockerfile::detail {

/// Keeps warnings of rules that hold.
class Reporter {
public:
    explicit Reporter(std::vector<LintWarning>& warnings) : warnings_(warnings) {}

    void report(const LintConfig& config, Rule rule, LineRange lines, std::string detail);

    /// "Did you mean" is asked for the first of them only: it looks at all names.
    bool has_room_for_suggestions() const { return warnings_.size() < suggestion_limit; }

private:
    std::vector<LintWarning>& warnings_;
};

/// What a stage leaves to one that begins with it.
struct StageState {
    StageVariables variables;
    bool is_known = true;  ///< The variables are all there are.
    bool has_shell = false;
    bool has_workdir = false;
};

/// What is the same for all stages.
struct StageLintInputs {
    const LintInputs& inputs;
    const LintConfig& config;
    VariableSources& sources;
};

class StageLint {
public:
    StageLint(const StageLintInputs& common, Reporter& reporter, StageState state);

    /// Throws SourceError where the build would fail.
    void look_at(const Instruction& instruction);

    StageState take() { return std::move(state_); }

private:
    void visit(const Instruction& instruction, const Add& add);
    void visit(const Instruction& instruction, const Cmd& cmd);
    void visit(const Instruction& instruction, const Copy& copy);
    void visit(const Instruction& instruction, const Entrypoint& entrypoint);
    void visit(const Instruction& instruction, const Env& env);
    void visit(const Instruction& instruction, const Expose& expose);
    void visit(const Instruction& instruction, const Healthcheck& healthcheck);
    void visit(const Instruction& instruction, const Label& label);
    void visit(const Instruction& instruction, const Shell& shell);
    void visit(const Instruction& instruction, const Workdir& workdir);
    template <typename Other>
    void visit(const Instruction&, const Other&) {}

    void report(Rule rule, const Instruction& instruction, std::string detail);
    void report_missing(const Instruction& instruction, const std::string& name);
    void check_legacy(const Instruction& instruction, const std::vector<KeyValue>& pairs);
    void check_secret(const Instruction& instruction, std::string_view keyword, std::string_view key);
    void check_once(const Instruction& instruction, LineRange& before);
    void check_shell(const Instruction& instruction, const CommandLine& command);
    void check_sources(const Instruction& instruction, const Sources& sources, std::string_view verb);

    const StageLintInputs& common_;
    Reporter& reporter_;
    StageState state_;
    std::optional<LintConfig> own_config_;  ///< Of the instruction that is looked at, where its comments say something.
    LineRange entrypoint_;
    LineRange cmd_;
    LineRange healthcheck_;
};

/// NAME_PASSWORD, apikey and their like, but not NAME_PASSWORD_FILE.
bool names_a_secret(std::string_view key);

}  // namespace grua::build::dockerfile::detail
