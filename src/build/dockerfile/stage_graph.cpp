#include "build/dockerfile/stage_graph.hpp"

#include "base/text.hpp"
#include "build/dockerfile/suggestion.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace grua::build::dockerfile {
namespace {

/// " (did you mean …?)" for the first of the names that has one.
std::string suggest_any(const std::vector<std::string>& names, const Environment& globals) {
    const std::vector<std::string_view> options = globals.names(suggestion_limit);
    for (const std::string& name : names) {
        std::string out = did_you_mean(name, options);
        if (!out.empty()) return out;
    }
    return {};
}

std::optional<oci::Platform> platform_of(const Stage& stage, const ExpandedFrom& from, const Environment& globals) {
    if (!from.platform) return std::nullopt;
    const std::string& written = stage.from().platform;
    if (from.platform->text.empty()) {
        throw SourceError(
            fmt::format("empty platform value from expression {}{}", shortened(written), suggest_any(from.platform->missing, globals)),
            stage.head.lines);
    }
    try {
        return oci::Platform::parse(from.platform->text);
    } catch (const Error&) {
        throw SourceError(fmt::format("failed to parse platform {}: {}: cannot parse platform specifier: invalid argument{}",
                                      shortened(written), in_quotes(from.platform->text), suggest_any(from.platform->missing, globals)),
                          stage.head.lines);
    }
}

/// Go's Atoi.
std::optional<std::int64_t> number(std::string_view text) { return parse_int(text.starts_with('+') ? text.substr(1) : text); }

}  // namespace

Environment platform_arguments(const Dockerfile& file, const BuildInputs& inputs) {
    const oci::Platform& build = inputs.build_platform;
    const oci::Platform& target = inputs.target_platform;
    std::string stage = inputs.target;
    if (stage.empty() && !file.stages.empty()) stage = file.stages.back().from().name;
    if (stage.empty()) stage = "default";
    Environment out;
    for (const auto& [name, value] : std::to_array<std::pair<std::string_view, std::string>>({{"BUILDPLATFORM", build.text()},
                                                                                              {"BUILDOS", build.os},
                                                                                              {"BUILDOSVERSION", build.os_version},
                                                                                              {"BUILDARCH", build.architecture},
                                                                                              {"BUILDVARIANT", build.variant},
                                                                                              {"TARGETPLATFORM", target.text()},
                                                                                              {"TARGETOS", target.os},
                                                                                              {"TARGETOSVERSION", target.os_version},
                                                                                              {"TARGETARCH", target.architecture},
                                                                                              {"TARGETVARIANT", target.variant},
                                                                                              {"TARGETSTAGE", stage}})) {
        const auto given = inputs.arguments.find(name);
        out.set(name, given == inputs.arguments.end() ? value : given->second);
    }
    return out;
}

Environment global_arguments(const Dockerfile& file, Environment predefined, const std::map<std::string, std::string, std::less<>>& given,
                             Expander& expander) {
    for (const Instruction& instruction : file.arguments) {
        for (const Arg::Declared& declared : std::get<Arg>(instruction.body).declared) {
            if (const auto found = given.find(declared.key); found != given.end()) {
                predefined.set(declared.key, found->second);
            } else if (declared.value) {
                at_lines(instruction.lines, [&] { predefined.set(declared.key, expander.expand(*declared.value, predefined).text); });
            }
        }
    }
    return predefined;
}

ExpandedFrom expand_from(const Stage& stage, const Environment& globals, Expander& expander) {
    return at_lines(stage.head.lines, [&] {
        ExpandedFrom out{.base = expander.expand(stage.from().base, globals)};
        const std::string& platform = stage.from().platform;
        if (platform.empty()) return out;
        while_doing(fmt::format("failed to process arguments for platform {}", shortened(platform)),
                    [&] { out.platform = expander.expand(platform, globals); });
        return out;
    });
}

void StageGraph::add(const ExpandedFrom& from, const Environment& globals) {
    const std::size_t index = stages_.size();
    const Stage& stage = file_.stages[index];
    if (from.base.text.empty()) {
        throw SourceError(fmt::format("base name ({}) should not be blank", shortened(stage.from().base)), stage.head.lines);
    }
    StageNode node{.name = stage.from().name, .base = from.base.text, .platform = platform_of(stage, from, globals)};
    if (const auto found = by_name_.find(node.base); found != by_name_.end()) node.base_stage = found->second;
    if (node.name.empty()) {
        node.name = fmt::format("stage-{}", index);
    } else {
        by_name_[node.name] = index;
    }
    stages_.push_back(std::move(node));
}

std::optional<std::size_t> StageGraph::find(std::string_view name) const {
    const auto found = by_name_.find(to_lower(name));
    return found == by_name_.end() ? std::nullopt : std::optional(found->second);
}

void StageGraph::add_source(StageNode& node, std::size_t instruction, const std::string& from) {
    if (!from.empty()) node.sources.push_back({.instruction = instruction, .from = from, .stage = find(from)});
}

void StageGraph::connect(Expander& expander) {
    for (std::size_t index = 0; index < stages_.size(); ++index) {
        const std::vector<Instruction>& instructions = file_.stages[index].instructions;
        for (std::size_t at = 0; at < instructions.size(); ++at) {
            if (const Run* run = std::get_if<Run>(&instructions[at].body)) {
                for (const std::string& from : run->mount_sources) add_source(stages_[index], at, from);
            }
            const Copy* copy = std::get_if<Copy>(&instructions[at].body);
            if (!copy || copy->from.empty()) continue;
            at_lines(instructions[at].lines, [&] {
                if (expander.expand(copy->from, {}).text != copy->from) {
                    fail(ErrorKind::invalid_argument,
                         "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a "
                         "workaround");
                }
                const auto position = number(copy->from);
                if (!position) return add_source(stages_[index], at, copy->from);
                if (*position < 0 || static_cast<std::size_t>(*position) >= stages_.size()) {
                    fail(ErrorKind::invalid_argument, "invalid stage index {}", *position);
                }
                stages_[index].sources.push_back({.instruction = at, .from = copy->from, .stage = static_cast<std::size_t>(*position)});
            });
        }
    }
    check_circles();
}

// Bases are earlier stages, so that a circle is one of sources. Depth first, with a stack of its own: a Dockerfile may have any number of
// stages.
void StageGraph::check_circles() const {
    enum class Mark { fresh, on_path, done };
    std::vector<Mark> marks(stages_.size(), Mark::fresh);
    struct Step {
        std::size_t stage;
        std::size_t next = 0;
    };
    for (std::size_t start = 0; start < stages_.size(); ++start) {
        if (marks[start] != Mark::fresh) continue;
        std::vector<Step> path{{start}};
        marks[start] = Mark::on_path;
        while (!path.empty()) {
            Step& step = path.back();
            if (step.next == stages_[step.stage].sources.size()) {
                marks[step.stage] = Mark::done;
                path.pop_back();
                continue;
            }
            const StageNode::Source& source = stages_[step.stage].sources[step.next++];
            if (!source.stage) continue;
            if (marks[*source.stage] == Mark::on_path) {
                throw SourceError(fmt::format("circular dependency detected on stage: {}", stages_[start].name),
                                  file_.stages[step.stage].instructions[source.instruction].lines);
            }
            if (marks[*source.stage] == Mark::fresh) {
                marks[*source.stage] = Mark::on_path;
                path.push_back({*source.stage});
            }
        }
    }
}

std::size_t StageGraph::target(std::string_view name) const {
    if (name.empty()) return stages_.size() - 1;
    if (const auto found = find(name)) return *found;
    std::vector<std::string_view> names;
    for (const StageNode& stage : stages_) {
        if (names.size() < suggestion_limit) names.push_back(stage.name);
    }
    fail(ErrorKind::invalid_argument, "target stage {} could not be found{}", in_quotes(name), did_you_mean(name, names));
}

std::vector<bool> StageGraph::needed_for(std::size_t target) const {
    std::vector<bool> out(stages_.size());
    std::vector<std::size_t> open{target};
    while (!open.empty()) {
        const std::size_t index = open.back();
        open.pop_back();
        if (out[index]) continue;
        out[index] = true;
        if (stages_[index].base_stage) open.push_back(*stages_[index].base_stage);
        for (const StageNode::Source& source : stages_[index].sources) {
            if (source.stage) open.push_back(*source.stage);
        }
    }
    return out;
}

StageGraph make_graph(const Dockerfile& file, const BuildInputs& inputs, Expander& expander) {
    const Environment globals = global_arguments(file, platform_arguments(file, inputs), inputs.arguments, expander);
    StageGraph out{file};
    for (const Stage& stage : file.stages) out.add(expand_from(stage, globals, expander), globals);
    out.connect(expander);
    return out;
}

}  // namespace grua::build::dockerfile
