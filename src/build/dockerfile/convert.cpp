#include "build/dockerfile/convert.hpp"

#include "base/text.hpp"
#include "build/dockerfile/converter.hpp"
#include "build/dockerfile/named_context.hpp"
#include "build/image_config.hpp"
#include "oci/reference.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace grua::build::dockerfile {
namespace detail {
namespace {

constexpr std::string_view scratch = "scratch";
constexpr std::string_view image_scheme = "docker-image://";
constexpr std::string_view comment = "buildkit.dockerfile.v0";
constexpr std::int64_t second = 1'000'000'000;

bool is_layered(const Instruction& instruction) {
    return std::holds_alternative<Add>(instruction.body) || std::holds_alternative<Copy>(instruction.body) ||
           std::holds_alternative<Run>(instruction.body) || std::holds_alternative<Workdir>(instruction.body);
}

/// The stages and images that an instruction takes files from.
std::vector<std::string> sources_of(const Instruction& instruction) {
    if (const Copy* copy = std::get_if<Copy>(&instruction.body))
        return copy->from.empty() ? std::vector<std::string>{} : std::vector{copy->from};
    std::vector<std::string> out;
    if (const Run* run = std::get_if<Run>(&instruction.body))
        std::ranges::copy_if(run->mount_sources, std::back_inserter(out), [](const std::string& each) { return !each.empty(); });
    return out;
}

/// To BuildKit an image that files are taken from is a stage, and so is what a mount has no source in: it names the stages then.
bool takes_more(const Instruction& instruction) {
    if (const Run* run = std::get_if<Run>(&instruction.body)) return !run->mount_flags.empty();
    const Copy* copy = std::get_if<Copy>(&instruction.body);
    return copy && !copy->from.empty() && !parse_uint(copy->from);
}

std::optional<std::int64_t> read_epoch(const std::string& text) {
    if (text.empty()) return std::nullopt;
    const auto seconds = parse_int(text);
    if (!seconds)
        fail(ErrorKind::invalid_argument, "invalid SOURCE_DATE_EPOCH: {}: strconv.ParseInt: parsing {}: invalid syntax", text,
             in_quotes(text));
    return seconds;
}

std::string reference_text(std::string_view name) {
    return while_doing(fmt::format("failed to parse stage name {}", in_quotes(name)),
                       [&] { return oci::Reference::parse(name).with_default_tag().text(); });
}

}  // namespace

void Variables::set(const std::string& variable) {
    now_.set(variable);
    note(variable.substr(0, variable.find('=')));
}

Instruction Variables::take(const Instruction& instruction, VariableSources& sources) {
    Instruction out = now_.take(instruction, sources);
    if (const Env* env = std::get_if<Env>(&out.body))
        for (const KeyValue& each : env->pairs) note(each.key);
    if (const Arg* arg = std::get_if<Arg>(&out.body))
        for (const Arg::Declared& each : arg->declared)
            if (lookup().contains(each.key)) note(each.key);  // A builder's own argument is no variable.
    return out;
}

std::vector<std::string> Variables::in_order() const {
    std::map<std::uint64_t, std::string_view> names;
    for (const auto& [name, place] : order_) names.emplace(place, name);
    std::vector<std::string> out;
    for (const auto& [place, name] : names) out.push_back(fmt::format("{}={}", name, *lookup().find(name)));
    return out;
}

Converter::Converter(std::string_view source, const Dockerfile& file, const ConvertOptions& options,
                     const std::map<ImageName, KnownImage>& images, std::vector<std::string> paths)
    : source_(source),
      file_(file),
      options_(options),
      images_(images),
      expander_({.escape = file.escape}),
      graph_(make_graph(file, options.inputs, expander_)),
      globals_(global_arguments(file, platform_arguments(file, options.inputs), options.inputs.arguments, expander_)),
      variable_sources_(options.inputs.arguments, globals_, file.escape),
      stages_(file.stages.size()),
      needed_(file.stages.size()),
      given_paths_(std::move(paths)) {
    if (const std::string* given = globals_.find("SOURCE_DATE_EPOCH")) epoch_ = read_epoch(*given);
    if (const auto given = options.inputs.arguments.find("SOURCE_DATE_EPOCH"); given != options.inputs.arguments.end())
        epoch_ = read_epoch(given->second);
    has_several_stages_ = file.stages.size() > 1;
    for (const Stage& stage : file.stages)
        for (const Instruction& each : stage.instructions)
            if (takes_more(each)) has_several_stages_ = true;
    draft_.set_source(options.filename, std::string(source), "Dockerfile");
}

Conversion Converter::run() {
    const std::size_t target = graph_.target(options_.inputs.target);
    find_needs(target);
    Conversion out;
    if (!wanted_.empty()) {
        out.wanted.assign(wanted_.begin(), wanted_.end());
        return out;
    }
    for (std::size_t stage = 0; stage <= target; ++stage)
        if (needed_[stage]) convert_stage(stage);
    StageDraft& state = stages_[target];
    for (const auto& [name, value] : options_.labels) state.image.config.labels[name] = value;
    if (options_.has_platform) {
        const oci::Platform& platform = options_.inputs.target_platform;
        const bool is_same = platform.os == state.image.os && platform.architecture == state.image.architecture;
        state.image.os = platform.os;
        state.image.architecture = platform.architecture;
        if (!platform.variant.empty() || !is_same) state.image.variant = platform.variant;
        if (!platform.os_version.empty() || !is_same) state.image.os_version = platform.os_version;
    }
    out.definition = draft_.define(state.files);
    find_scanned(target, out);
    out.image = std::move(state.image);
    out.inherited_history = state.inherited_history;
    out.platform = state.platform;
    return out;
}

std::vector<std::string> Converter::context_paths() const {
    if (context_paths_.contains("/")) return {};
    std::vector<std::string> out;
    for (const std::string& each : context_paths_) out.push_back(each.substr(1));
    return out;
}

// --- what is needed -----------------------------------------------------------------------------------------------------------------

/// Downwards: what a stage takes files from stands before it. One that does not is refused when the stage is converted.
void Converter::find_needs(std::size_t target) {
    needed_[target] = true;
    for (std::size_t stage = target + 1; stage-- > 0;)
        if (needed_[stage]) find_needs_of(stage);
}

void Converter::find_needs_of(std::size_t stage) {
    const StageNode& node = graph_.stages()[stage];
    if (const auto instead = replacement_of(stage)) {
        (void)want(*instead);
        return;
    }
    if (node.base_stage) {
        needed_[*node.base_stage] = true;
    } else if (node.base != scratch) {
        (void)want(base_of(stage));
    }
    read_triggers(stage);
    const auto add = [&](const Instruction& instruction) {
        for (const std::string& from : sources_of(instruction)) {
            const Source source = source_of(from, instruction.lines);
            if (source.stage)
                needed_[*source.stage] = true;
            else if (!source.is_empty)
                (void)want(source.image);
        }
    };
    for (const Instruction& each : stages_[stage].triggers) add(each);
    for (const Instruction& each : file_.stages[stage].instructions) add(each);
}

/// Of the image that a stage is made from, or of the stage's own ONBUILD.
void Converter::read_triggers(std::size_t stage) {
    const StageNode& node = graph_.stages()[stage];
    const LineRange lines = file_.stages[stage].head.lines;
    std::vector<std::string> expressions;
    if (node.base_stage) {
        for (const Instruction& each : file_.stages[*node.base_stage].instructions)
            if (const OnBuild* on_build = std::get_if<OnBuild>(&each.body)) expressions.push_back(on_build->expression);
    } else if (node.base != scratch) {
        const auto known = images_.find(base_of(stage));
        if (known != images_.end()) expressions = known->second.config.config.on_build;
    }
    for (const std::string& each : expressions) stages_[stage].triggers.push_back(read_trigger(each, lines));
}

std::optional<ImageName> Converter::context_named(std::string_view name, const oci::Platform& platform) const {
    const auto found = find_named_context(options_.contexts, name, platform);
    if (!found) return std::nullopt;
    return ImageName{.reference = *found, .platform = platform.text(), .is_context = true};
}

ImageName Converter::base_of(std::size_t stage) const {
    const StageNode& node = graph_.stages()[stage];
    const oci::Platform platform = node.platform.value_or(options_.inputs.target_platform);
    if (auto context = context_named(node.base, platform)) return std::move(*context);
    return at_lines(file_.stages[stage].head.lines,
                    [&] { return ImageName{.reference = reference_text(node.base), .platform = platform.text()}; });
}

std::optional<ImageName> Converter::replacement_of(std::size_t stage) const {
    const std::string& name = file_.stages[stage].from().name;
    if (name.empty()) return std::nullopt;
    return context_named(name, graph_.stages()[stage].platform.value_or(options_.inputs.target_platform));
}

Converter::Source Converter::source_of(std::string_view from, LineRange lines) const {
    return at_lines(lines, [&]() -> Source {
        if (const auto number = parse_uint(from)) {
            if (*number >= graph_.stages().size()) fail(ErrorKind::invalid_argument, "invalid stage index {}", *number);
            return {.stage = *number, .image = {}};
        }
        if (auto context = context_named(from, options_.inputs.target_platform)) return {.stage = {}, .image = std::move(*context)};
        if (const auto found = graph_.find(from)) return {.stage = *found, .image = {}};
        if (from == scratch) return {.stage = {}, .image = {}, .is_empty = true};
        return {.stage = {}, .image = {.reference = reference_text(from), .platform = options_.inputs.target_platform.text()}};
    });
}

const KnownImage* Converter::want(const ImageName& image) {
    const auto known = images_.find(image);
    if (known != images_.end()) return &known->second;
    wanted_.insert(image);
    return nullptr;
}

// --- stages -------------------------------------------------------------------------------------------------------------------------

void Converter::begin_empty(StageDraft& state) {
    const oci::Platform& platform = options_.inputs.target_platform;
    state.platform = platform;
    state.image = {};
    state.image.architecture = platform.architecture;
    state.image.os = platform.os;
    state.image.variant = platform.variant;
    state.image.os_version = platform.os_version;
    state.image.rootfs.type = "layers";
    state.image.config.working_dir = "/";
}

void Converter::begin_with_image(std::size_t stage, const ImageName& name, LineRange lines) {
    StageDraft& state = stages_[stage];
    const KnownImage& known = images_.at(name);
    // A folder of the client is no image.
    if (known.config.os.empty()) begin_empty(state);
    if (known.config.os.empty() && known.files) {
        state.files = known.files(draft_);
        return;
    }
    state.image = known.config;
    state.image.created.clear();
    state.image.config.on_build.clear();
    state.inherited_history = state.image.history.size();
    state.platform = oci::Platform::parse(name.platform);
    if (known.files) {
        state.files = known.files(draft_);
        return;
    }
    if (known.config.rootfs.diff_ids.empty()) return;
    const pb::Op op = image_source(name, known);
    const std::string reference = op.source().identifier().substr(image_scheme.size());
    // Triggers are known once the image is; its own step is counted without them.
    const std::size_t all = state.steps;
    state.steps -= state.triggers.size();
    const std::string name_of_step = step_name(state, "FROM " + reference);
    state.steps = all;
    state.files = draft_.add(op, name_of_step, metadata(state, file_.stages[stage].head));
    draft_.place(state.files, lines.first, lines.last);
}

void Converter::begin(std::size_t stage) {
    const StageNode& node = graph_.stages()[stage];
    const Stage& written = file_.stages[stage];
    StageDraft& state = stages_[stage];
    std::vector<Instruction> triggers = std::move(state.triggers);
    if (node.base_stage) {
        state = stages_[*node.base_stage];
        state.is_done = false;
        state.step = 0;
        state.has_cmd = false;
        state.image.config.on_build.clear();
    }
    if (!node.base_stage)
        for (const std::string_view each : {scans_context_argument, scans_stage_argument})
            if (const std::string* global = globals_.find(each)) set_scans(state, each, *global);
    state.triggers = std::move(triggers);
    state.name = has_several_stages_ ? node.name : std::string{};
    state.ignores_cache = options_.no_cache || options_.no_cache_stages.contains(written.from().name);
    state.steps = static_cast<std::size_t>(std::ranges::count_if(written.instructions, is_layered)) + state.triggers.size() +
                  (!node.base_stage && node.base != scratch ? 1 : 0);
    if (node.base == scratch && !node.base_stage) begin_empty(state);
    if (node.base != scratch && !node.base_stage) {
        begin_with_image(stage, base_of(stage), written.head.lines);
    }
    std::vector<std::string>& env = state.image.config.env;
    if (std::ranges::none_of(env, [](const std::string& each) { return each.starts_with("PATH="); }))
        env.push_back(fmt::format("PATH={}", default_path));
    for (const std::string& each : env) state.variables.set(each);
    if (!state.image.config.working_dir.empty()) {
        state.image.config.working_dir = absolute("/", state.image.config.working_dir, false);
        state.folder = state.image.config.working_dir;
    }
}

void Converter::convert_stage(std::size_t stage) {
    StageDraft& state = stages_[stage];
    if (const auto instead = replacement_of(stage)) {
        begin_with_image(stage, *instead, file_.stages[stage].head.lines);
        for (const std::string& each : state.image.config.env) state.variables.set(each);
        state.is_done = true;
        return;
    }
    begin(stage);
    state.is_trigger = true;
    for (const Instruction& each : std::exchange(state.triggers, {})) convert_one(stage, each);
    state.is_trigger = false;
    for (const Instruction& each : file_.stages[stage].instructions) convert_one(stage, each);
    state.is_done = true;
}

void Converter::convert_one(std::size_t stage, const Instruction& written) {
    StageDraft& state = stages_[stage];
    const Instruction instruction = state.variables.take(written, variable_sources_);
    at_lines(instruction.lines, [&] { std::visit([&](const auto& body) { apply(state, instruction, body); }, instruction.body); });
}

void Converter::set_scans(StageDraft& state, std::string_view argument, const std::string& value) {
    if (argument == scans_context_argument) state.scans_context = value;
    if (argument == scans_stage_argument) state.scans_stage = value;
}

/// What is not built is not scanned.
void Converter::find_scanned(std::size_t target, Conversion& out) {
    out.ignores_cache = stages_[target].ignores_cache;
    const auto holds_for = [&](const std::string& value, std::size_t stage) {
        if (const Truth truth = parse_truth(value); truth != Truth::unknown) return truth == Truth::yes;
        const std::vector<std::string> names = split(value, ',');
        return std::ranges::find(names, graph_.stages()[stage].name) != names.end();
    };
    if (holds_for(stages_[target].scans_context, target)) out.also_scanned["context"] = draft_.define(context());
    for (std::size_t stage = 0; stage < target; ++stage) {
        if (!needed_[stage] || !holds_for(stages_[stage].scans_stage, stage)) continue;
        out.also_scanned[graph_.stages()[stage].name] = draft_.define(stages_[stage].files);
        out.ignores_cache = out.ignores_cache || stages_[stage].ignores_cache;
    }
}

Draft::Output Converter::take(const Instruction& instruction, std::string_view from, std::string_view trouble) {
    const Source source = source_of(from, instruction.lines);
    if (source.is_empty) return {};
    if (source.stage) {
        if (!stages_[*source.stage].is_done) fail(ErrorKind::invalid_argument, "{}", trouble);
        return stages_[*source.stage].files;
    }
    const auto [at, is_new] = image_outputs_.try_emplace(source.image);
    const KnownImage& known = images_.at(source.image);
    if (is_new && known.files) return at->second = known.files(draft_);
    if (!is_new || known.config.rootfs.diff_ids.empty()) return at->second;
    const pb::Op op = image_source(source.image, known);
    const std::string reference = op.source().identifier().substr(image_scheme.size());
    at->second = draft_.add(op, "FROM " + reference);
    draft_.place(at->second, instruction.lines.first, instruction.lines.last);
    return at->second;
}

pb::Op Converter::image_source(const ImageName& name, const KnownImage& known) const {
    pb::Op out;
    out.mutable_source()->set_identifier(fmt::format("{}{}", image_scheme, known.pinned.empty() ? name.reference : known.pinned));
    (*out.mutable_source()->mutable_attrs())["image.resolvemode"] = options_.resolve_mode;
    if (!known.digest.empty()) (*out.mutable_source()->mutable_attrs())["image.checksum"] = known.digest;
    set_platform(out, oci::Platform::parse(name.platform));
    return out;
}

Draft::Output Converter::context() { return options_.context(draft_, given_paths_); }

// --- what people see ----------------------------------------------------------------------------------------------------------------

std::string Converter::step_name(StageDraft& state, std::string_view what) {
    if (state.steps == 0) return std::string(what);
    std::string out = "[";
    if (options_.several_platforms) out += state.platform.text() + " ";
    if (!state.name.empty()) out += state.name + " ";
    const std::size_t width = fmt::format("{}", state.steps).size();
    out += fmt::format("{:>{}}/{}] ", ++state.step, width, state.steps);
    if (state.is_trigger) out += "ONBUILD ";
    return out + std::string(what);
}

std::string Converter::shown(const Environment& variables, std::string_view code, const ExpansionRules& rules) {
    std::string out(code);
    try {
        Expander expander{rules};
        out = expander.expand(code, variables).text;
    } catch (const Error&) {
        // It is shown as it is written.
    }
    const std::size_t end = std::min(out.find(' '), out.size());
    return to_upper(out.substr(0, end)) + out.substr(end);
}

pb::OpMetadata Converter::metadata(const StageDraft& state, const Instruction& instruction) const {
    pb::OpMetadata out;
    (*out.mutable_description())["com.docker.dockerfile.v1.command"] = instruction.code;
    if (state.ignores_cache && !std::holds_alternative<From>(instruction.body)) out.set_ignore_cache(true);
    return out;
}

void Converter::remember(StageDraft& state, std::string created_by, bool has_layer) const {
    oci::HistoryEntry entry{
        .created = {}, .created_by = std::move(created_by), .author = {}, .comment = std::string(comment), .empty_layer = !has_layer};
    if (epoch_) entry.created = time_in_config(Time{std::chrono::seconds(*epoch_)});
    state.image.history.push_back(std::move(entry));
}

std::vector<std::string> Converter::with_shell(const StageDraft& state, const std::string& command) const {
    std::vector<std::string> out = state.image.config.shell;
    if (out.empty()) out = {"/bin/sh", "-c"};
    out.push_back(command);
    return out;
}

std::string absolute(std::string_view folder, std::string_view path, bool keep_slash) {
    const bool has_slash = keep_slash && (path.empty() || path == "." || path.ends_with('/') || path.ends_with("/."));
    std::string all = path.starts_with('/') ? std::string(path) : fmt::format("{}/{}", folder, path);
    std::vector<std::string> parts;
    for (std::string& part : split(all, '/')) {
        if (part.empty() || part == ".") continue;
        if (part != "..")
            parts.push_back(std::move(part));
        else if (!parts.empty())
            parts.pop_back();
    }
    std::string out = "/" + join(parts, "/");
    if (has_slash && out != "/") out += '/';
    return out;
}

std::string go_duration(std::chrono::nanoseconds time) {
    std::int64_t count = time.count();
    if (count == 0) return "0s";
    std::string sign;
    if (count < 0) {
        sign = "-";
        count = -count;
    }
    const auto with_fraction = [&](std::int64_t unit, std::string_view name) {
        std::string digits = fmt::format("{:0{}}", count % unit, fmt::format("{}", unit).size() - 1);
        while (!digits.empty() && digits.back() == '0') digits.pop_back();
        return fmt::format("{}{}{}{}", count / unit, digits.empty() ? "" : ".", digits, name);
    };
    if (count < 1000) return fmt::format("{}{}ns", sign, count);
    if (count < 1'000'000) return sign + with_fraction(1000, "µs");
    if (count < second) return sign + with_fraction(1'000'000, "ms");
    const std::int64_t minutes = count / (60 * second);
    count %= 60 * second;
    const std::string rest = with_fraction(second, "s");
    if (minutes == 0) return sign + rest;
    if (minutes < 60) return fmt::format("{}{}m{}", sign, minutes, rest);
    return fmt::format("{}{}h{}m{}", sign, minutes / 60, minutes % 60, rest);
}

std::string quoted_list(const std::vector<std::string>& words) {
    std::string out = "[";
    for (const std::string& each : words) out += (out.size() > 1 ? " " : "") + in_quotes(each);
    return out + "]";
}

}  // namespace detail

Conversion convert(std::string_view source, const Dockerfile& file, const ConvertOptions& options,
                   const std::map<ImageName, KnownImage>& images) {
    detail::Converter first{source, file, options, images};
    Conversion out = first.run();
    std::vector<std::string> paths = first.context_paths();
    if (!out.wanted.empty() || paths.empty()) return out;
    return detail::Converter{source, file, options, images, std::move(paths)}.run();
}

}  // namespace grua::build::dockerfile
