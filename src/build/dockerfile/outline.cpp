#include "build/dockerfile/outline.hpp"

#include "build/dockerfile/stage_variables.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

namespace grua::build::dockerfile {
namespace {

/// An argument before the first FROM, and those that its default is made of.
struct GlobalArgument {
    Outline::Argument told;
    std::set<std::string> made_of;
};

/// What a stage says of itself.
struct StageOutline {
    std::vector<std::string> used;  ///< Arguments of any stage, by their names.
    std::map<std::string, Outline::Argument, std::less<>> own;
    std::map<std::string, Outline::Need> secrets;
    std::map<std::string, Outline::Need> agents;
};

std::string last_name(std::string_view path) {
    while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
    return std::string(path.substr(path.rfind('/') + 1));
}

std::string secret_id(const Mount& mount) {
    if (!mount.source.empty()) return mount.source;
    if (!mount.id.empty()) return mount.id;
    if (mount.target.empty()) fail(ErrorKind::invalid_argument, "one of source, target required");
    return last_name(mount.target);
}

/// Its first mention counts.
void note(std::map<std::string, Outline::Need>& needs, const std::string& id, const Mount& mount, LineRange lines) {
    needs.try_emplace(id, Outline::Need{.id = id, .is_required = mount.required, .lines = lines});
}

/// Those of one line stay as they are.
template <typename Value>
std::vector<Value> by_line(std::vector<Value> values) {
    std::multimap<int, Value> sorted;
    for (Value& each : values) sorted.emplace(each.lines.first, std::move(each));
    std::vector<Value> out;
    for (auto& [line, each] : sorted) out.push_back(std::move(each));
    return out;
}

class Outliner {
public:
    Outliner(std::string_view source, const OutlineInputs& inputs)
        : inputs_(inputs),
          file_(read_dockerfile(source)),
          predefined_(platform_arguments(file_, inputs.build)),
          expander_({.escape = file_.escape}),
          graph_(file_),
          stages_(file_.stages.size()),
          variables_(file_.stages.size()) {}

    Outline run() {
        read_globals();
        for (std::size_t index = 0; index < file_.stages.size(); ++index) add_stage(index);
        const std::size_t target = graph_.target(inputs_.build.target);
        graph_.connect(expander_);
        const std::vector<bool> needed = graph_.needed_for(target);
        VariableSources sources{inputs_.build.arguments, globals_, file_.escape};
        for (std::size_t index = 0; index < file_.stages.size(); ++index)
            if (needed[index] && !is_replaced(index)) look_at(index, sources);
        return gather(target);
    }

private:
    void read_globals() {
        globals_ = predefined_;
        for (const Instruction& instruction : file_.arguments) {
            for (const Arg::Declared& declared : std::get<Arg>(instruction.body).declared) read_global(declared, instruction.lines);
        }
    }

    void read_global(const Arg::Declared& declared, LineRange lines) {
        GlobalArgument out{.told = {.name = declared.key, .description = declared.description, .value = {}, .lines = lines}, .made_of = {}};
        if (const auto given = inputs_.build.arguments.find(declared.key); given != inputs_.build.arguments.end()) {
            out.told.value = given->second;
            globals_.set(declared.key, out.told.value);
        } else if (declared.value) {
            Expanded expanded = at_lines(lines, [&] { return expander_.expand(*declared.value, globals_); });
            out.told.value = std::move(expanded.text);
            // Of what it was made of before, where it is made of itself.
            const auto before = global_arguments_.find(declared.key);
            if (before != global_arguments_.end() && std::ranges::find(expanded.used, declared.key) != expanded.used.end())
                out.made_of = std::move(before->second.made_of);
            out.made_of.insert(expanded.used.begin(), expanded.used.end());
            out.made_of.erase(declared.key);
            globals_.set(declared.key, out.told.value);
        }
        global_arguments_.insert_or_assign(declared.key, std::move(out));
    }

    void add_stage(std::size_t index) {
        const ExpandedFrom from = expand_from(file_.stages[index], globals_, expander_);
        graph_.add(from, globals_);
        if (is_replaced(index)) return;
        stages_[index].used = from.base.used;
        if (from.platform) stages_[index].used.insert(stages_[index].used.end(), from.platform->used.begin(), from.platform->used.end());
    }

    bool is_replaced(std::size_t index) const {
        const std::string& name = file_.stages[index].from().name;
        return inputs_.is_replaced && !name.empty() && inputs_.is_replaced(name, platform_of(index));
    }

    const oci::Platform& platform_of(std::size_t index) const {
        const auto& own = graph_.stages()[index].platform;
        return own ? *own : inputs_.build.target_platform;
    }

    void look_at(std::size_t index, VariableSources& sources) {
        const Stage& stage = file_.stages[index];
        const StageNode& node = graph_.stages()[index];
        StageVariables& variables = variables_[index];
        std::vector<std::string> triggers;
        if (node.base_stage) {
            variables = variables_[*node.base_stage];
            for (const Instruction& each : file_.stages[*node.base_stage].instructions)
                if (const OnBuild* on_build = std::get_if<OnBuild>(&each.body)) triggers.push_back(on_build->expression);
        } else if (node.base != "scratch" && inputs_.base_image) {
            if (const auto image = at_lines(stage.head.lines, [&] { return inputs_.base_image(node.base, platform_of(index)); })) {
                for (const std::string& each : image->env) variables.set(each);
                triggers = image->on_build;
            }
        }
        variables.set_default_path();
        for (const std::string& each : triggers)
            if (triggers_seen_++ < outline_trigger_limit) look_at(stages_[index], variables, read_trigger(each, stage.head.lines), sources);
        for (const Instruction& each : stage.instructions) look_at(stages_[index], variables, each, sources);
    }

    void look_at(StageOutline& out, StageVariables& variables, const Instruction& written, VariableSources& sources) {
        const Instruction instruction = variables.take(written, sources);
        if (const Arg* arg = std::get_if<Arg>(&instruction.body)) {
            const Arg& before = std::get<Arg>(written.body);
            for (std::size_t at = 0; at < arg->declared.size(); ++at)
                declare(out, before.declared[at], arg->declared[at], instruction.lines);
        }
        if (const Run* run = std::get_if<Run>(&instruction.body)) {
            at_lines(instruction.lines, [&] {
                for (const Mount& each : run->mounts) {
                    if (each.type == MountType::secret) note(out.secrets, secret_id(each), each, instruction.lines);
                    if (each.type == MountType::ssh) note(out.agents, each.id.empty() ? "default" : each.id, each, instruction.lines);
                }
            });
        }
    }

    void declare(StageOutline& out, const Arg::Declared& written, const Arg::Declared& declared, LineRange lines) const {
        out.used.push_back(declared.key);
        // One without a value of its own is the one before the first FROM, with what is said of that.
        const bool is_the_global = !written.value && !inputs_.build.arguments.contains(declared.key) && globals_.contains(declared.key);
        if (is_the_global) return;
        out.own.insert_or_assign(
            declared.key,
            Outline::Argument{
                .name = declared.key, .description = declared.description, .value = declared.value.value_or(""), .lines = lines});
    }

    /// The target's come first, then those of what it is made from: of two with the same name the first one is told.
    Outline gather(std::size_t target) {
        Outline out{.name = file_.stages[target].from().name, .description = file_.stages[target].from().description};
        std::set<std::string, std::less<>> arguments;
        std::set<std::string, std::less<>> secrets;
        std::set<std::string, std::less<>> agents;
        std::vector<bool> seen(stages_.size());
        std::vector<std::size_t> open{target};
        while (!open.empty()) {
            const std::size_t index = open.back();
            open.pop_back();
            if (seen[index]) continue;
            seen[index] = true;
            add_arguments(out.arguments, arguments, stages_[index]);
            for (const auto& [id, each] : stages_[index].secrets)
                if (secrets.insert(id).second) out.secrets.push_back(each);
            for (const auto& [id, each] : stages_[index].agents)
                if (agents.insert(id).second) out.agents.push_back(each);
            if (is_replaced(index)) continue;
            const StageNode& node = graph_.stages()[index];
            for (auto each = node.sources.rbegin(); each != node.sources.rend(); ++each)
                if (each->stage) open.push_back(*each->stage);
            if (node.base_stage) open.push_back(*node.base_stage);
        }
        out.arguments = by_line(std::move(out.arguments));
        out.secrets = by_line(std::move(out.secrets));
        out.agents = by_line(std::move(out.agents));
        return out;
    }

    void add_arguments(std::vector<Outline::Argument>& out, std::set<std::string, std::less<>>& told, const StageOutline& stage) {
        std::vector<std::string> open(stage.used.rbegin(), stage.used.rend());
        while (!open.empty()) {
            const std::string name = std::move(open.back());
            open.pop_back();
            if (const auto own = stage.own.find(name); own != stage.own.end()) {
                if (told.insert(name).second) out.push_back(own->second);
                continue;
            }
            const auto global = global_arguments_.find(name);
            if (global == global_arguments_.end()) continue;
            if (told.insert(name).second) out.push_back(global->second.told);
            // Once for all stages: what it is made of is told then.
            const std::set<std::string> made_of = std::exchange(global->second.made_of, {});
            open.insert(open.end(), made_of.begin(), made_of.end());
        }
    }

    const OutlineInputs& inputs_;
    Dockerfile file_;
    Environment predefined_;
    Environment globals_;
    Expander expander_;
    std::map<std::string, GlobalArgument, std::less<>> global_arguments_;
    StageGraph graph_;
    std::vector<StageOutline> stages_;
    std::vector<StageVariables> variables_;
    std::size_t triggers_seen_ = 0;
};

}  // namespace

Outline make_outline(std::string_view source, const OutlineInputs& inputs) { return Outliner(source, inputs).run(); }

}  // namespace grua::build::dockerfile
