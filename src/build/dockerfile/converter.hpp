// How a Dockerfile is converted; for convert*.cpp.
#pragma once

#include "build/dockerfile/convert.hpp"
#include "build/dockerfile/expansion.hpp"
#include "build/dockerfile/stage_variables.hpp"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace grua::build::dockerfile::detail {

/// What programs of a stage get, in the order in which it was set last.
class Variables {
public:
    /// NAME=VALUE, of an image.
    void set(const std::string& variable);
    /// The instruction with its variables replaced; what it sets holds for the next one.
    Instruction take(const Instruction& instruction, VariableSources& sources);

    const Environment& lookup() const noexcept { return now_.all(); }
    std::vector<std::string> in_order() const;

private:
    void note(const std::string& name) { order_[name] = next_++; }

    StageVariables now_;
    std::map<std::string, std::uint64_t, std::less<>> order_;
    std::uint64_t next_ = 0;
};

/// A stage as far as it has been converted.
struct StageDraft {
    std::string name;  ///< For what people see; empty where it is the only stage.
    Draft::Output files;
    Variables variables;
    oci::ImageConfig image;
    std::size_t inherited_history = 0;
    oci::Platform platform;
    std::string folder = "/";
    std::vector<Arg::Declared> arguments;  ///< With their values.
    std::vector<Instruction> triggers;     ///< Of its base, before its own instructions.
    std::size_t steps = 0;
    std::size_t step = 0;
    bool is_trigger = false;  ///< The instruction that is converted.
    bool has_cmd = false;
    bool ignores_cache = false;
    bool is_done = false;
    /// What the arguments for scanners say, as last set: true, false, or names of stages.
    std::string scans_context;
    std::string scans_stage;
};

class Converter {
public:
    /// What is taken of the context is known at the end only, and its operation must be known before: `paths` are those of a conversion
    /// before, nothing the first time.
    Converter(std::string_view source, const Dockerfile& file, const ConvertOptions& options, const std::map<ImageName, KnownImage>& images,
              std::vector<std::string> paths = {});
    Conversion run();

    /// Of the context; nothing where all of it is taken, or nothing.
    std::vector<std::string> context_paths() const;

private:
    struct Source {
        std::optional<std::size_t> stage;
        ImageName image;
        bool is_empty = false;  ///< "scratch"
    };

    // What is needed.
    void find_needs(std::size_t target);
    void find_needs_of(std::size_t stage);
    void read_triggers(std::size_t stage);
    Source source_of(std::string_view from, LineRange lines) const;
    std::optional<ImageName> context_named(std::string_view name, const oci::Platform& platform) const;
    ImageName base_of(std::size_t stage) const;
    /// A context in the place of the whole stage.
    std::optional<ImageName> replacement_of(std::size_t stage) const;
    const KnownImage* want(const ImageName& image);

    // Stages, in their order.
    void begin(std::size_t stage);
    void begin_with_image(std::size_t stage, const ImageName& name, LineRange lines);
    void begin_empty(StageDraft& state);
    void convert_stage(std::size_t stage);
    void convert_one(std::size_t stage, const Instruction& written);
    static void set_scans(StageDraft& state, std::string_view argument, const std::string& value);
    void find_scanned(std::size_t target, Conversion& out);

    // Instructions.
    void apply(StageDraft& state, const Instruction& instruction, const Run& run);
    void apply(StageDraft& state, const Instruction& instruction, const Copy& copy);
    void apply(StageDraft& state, const Instruction& instruction, const Add& add);
    void apply(StageDraft& state, const Instruction& instruction, const Workdir& workdir);
    void apply(StageDraft& state, const Instruction& instruction, const Env& env);
    void apply(StageDraft& state, const Instruction& instruction, const Arg& arg);
    void apply(StageDraft& state, const Instruction& instruction, const Cmd& cmd);
    void apply(StageDraft& state, const Instruction& instruction, const Entrypoint& entrypoint);
    void apply(StageDraft& state, const Instruction& instruction, const Expose& expose);
    void apply(StageDraft& state, const Instruction& instruction, const Healthcheck& check);
    void apply(StageDraft& state, const Instruction& instruction, const Label& label);
    void apply(StageDraft& state, const Instruction& instruction, const Maintainer& maintainer);
    void apply(StageDraft& state, const Instruction& instruction, const OnBuild& on_build);
    void apply(StageDraft& state, const Instruction& instruction, const Shell& shell);
    void apply(StageDraft& state, const Instruction& instruction, const StopSignal& signal);
    void apply(StageDraft& state, const Instruction& instruction, const User& user);
    void apply(StageDraft& state, const Instruction& instruction, const Volume& volume);
    void apply(StageDraft&, const Instruction&, const From&) {}

    struct CopyPlan;
    void copy(StageDraft& state, const Instruction& instruction, CopyPlan plan);
    void add_mounts(StageDraft& state, const Instruction& instruction, const Run& run, pb::Op& op);
    /// What `from` names; `trouble` where that is a stage that comes later.
    Draft::Output take(const Instruction& instruction, std::string_view from, std::string_view trouble);
    Draft::Output inline_file(const StageDraft& state, const std::string& name, const std::string& content, int mode);
    std::pair<Draft::Output, std::string> http_source(const std::string& checksum, const std::string& url, std::string_view step);
    Draft::Output git_source(const std::string& checksum, std::optional<bool> keep_git_dir, const std::string& source,
                             std::string_view step);
    Draft::Output owned_folder(const StageDraft& state, const Draft::Output& below, const Mount& mount);
    pb::Op image_source(const ImageName& name, const KnownImage& known) const;
    Draft::Output context();

    // What people see.
    std::string step_name(StageDraft& state, std::string_view what);
    static std::string shown(const Environment& variables, std::string_view code, const ExpansionRules& rules);
    pb::OpMetadata metadata(const StageDraft& state, const Instruction& instruction) const;

    void remember(StageDraft& state, std::string created_by, bool has_layer) const;
    std::vector<std::string> with_shell(const StageDraft& state, const std::string& command) const;

    std::string_view source_;
    const Dockerfile& file_;
    const ConvertOptions& options_;
    const std::map<ImageName, KnownImage>& images_;
    Expander expander_;
    StageGraph graph_;
    Environment globals_;
    VariableSources variable_sources_;
    Draft draft_;
    std::vector<StageDraft> stages_;
    std::vector<bool> needed_;
    std::set<ImageName> wanted_;
    std::map<ImageName, Draft::Output> image_outputs_;

    std::optional<std::int64_t> epoch_;  ///< SOURCE_DATE_EPOCH, in seconds.
    bool has_several_stages_ = false;
    std::vector<std::string> given_paths_;
    std::set<std::string> context_paths_;
};

/// "/a/b" of a path that is relative to `folder`; a slash at its end stays where `keep_slash`.
std::string absolute(std::string_view folder, std::string_view path, bool keep_slash);

/// "user", "1000:1000", "user:group"; a name is looked up in the files of an operation's input.
void set_owner(pb::ChownOpt& out, std::string_view owner, std::int64_t input);

/// Go's: "1m30s", "0s".
std::string go_duration(std::chrono::nanoseconds time);

/// Go's %q of a list: ["a" "b"].
std::string quoted_list(const std::vector<std::string>& words);

}  // namespace grua::build::dockerfile::detail
