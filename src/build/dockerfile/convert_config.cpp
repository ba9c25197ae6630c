// The instructions that change the image's configuration alone, and WORKDIR.
#include "base/text.hpp"
#include "build/dockerfile/converter.hpp"
#include "build/dockerfile/ports.hpp"
#include "engine/model/signals.hpp"

#include <algorithm>

namespace grua::build::dockerfile::detail {
namespace {

std::string plain_list(const std::vector<std::string>& words) { return "[" + join(words, " ") + "]"; }

void set_env(std::vector<std::string>& env, const std::string& name, const std::string& value) {
    const auto found = std::ranges::find_if(env, [&](const std::string& each) { return each.starts_with(name + "="); });
    std::string pair = fmt::format("{}={}", name, value);
    if (found != env.end())
        *found = std::move(pair);
    else
        env.push_back(std::move(pair));
}

/// Go's %q of a number that is taken for a character.
std::string quoted_character(int number) {
    if (number >= ' ' && number <= '~' && number != '\'' && number != '\\') return fmt::format("'{}'", static_cast<char>(number));
    if (number == '\'' || number == '\\') return fmt::format("'\\{}'", static_cast<char>(number));
    constexpr std::string_view named = "abtnvfr";
    if (number >= '\a' && number <= '\r') return fmt::format("'\\{}'", named[static_cast<std::size_t>(number - '\a')]);
    return number < 0x80 ? fmt::format("'\\x{:02x}'", number) : fmt::format("'\\u{:04x}'", number);
}

std::string pair_text(const KeyValue& pair) { return fmt::format("{}={}", pair.key, pair.value); }

}  // namespace

void Converter::apply(StageDraft& state, const Instruction&, const Env& env) {
    std::string created_by = "ENV";
    for (const KeyValue& each : env.pairs) {
        created_by += " " + pair_text(each);
        set_env(state.image.config.env, each.key, each.value);
    }
    remember(state, std::move(created_by), false);
}

void Converter::apply(StageDraft& state, const Instruction&, const Label& label) {
    std::string created_by = "LABEL";
    for (const KeyValue& each : label.pairs) {
        created_by += " " + pair_text(each);
        state.image.config.labels[each.key] = each.value;
    }
    remember(state, std::move(created_by), false);
}

void Converter::apply(StageDraft& state, const Instruction&, const Arg& arg) {
    std::vector<std::string> said;
    for (const Arg::Declared& each : arg.declared) {
        said.push_back(each.key + (each.value ? "=" + *each.value : ""));
        state.arguments.push_back(each);
        if (each.value) set_scans(state, each.key, *each.value);
    }
    remember(state, "ARG " + join(said, " "), false);
}

void Converter::apply(StageDraft& state, const Instruction&, const Cmd& cmd) {
    auto words = cmd.command.in_shell ? with_shell(state, join(cmd.command.words, " ")) : cmd.command.words;
    remember(state, "CMD " + quoted_list(words), false);
    state.image.config.cmd = std::move(words);
    state.image.config.args_escaped = true;
    state.has_cmd = true;
}

void Converter::apply(StageDraft& state, const Instruction&, const Entrypoint& entrypoint) {
    auto words = entrypoint.command.in_shell ? with_shell(state, join(entrypoint.command.words, " ")) : entrypoint.command.words;
    remember(state, "ENTRYPOINT " + quoted_list(words), false);
    state.image.config.entrypoint = std::move(words);
    // A CMD of the base was for the base's entry point.
    if (!state.has_cmd) state.image.config.cmd.reset();
}

void Converter::apply(StageDraft& state, const Instruction&, const Expose& expose) {
    std::vector<std::string> said;
    for (const std::string& each : expose.ports) {
        const ExposedPort port = parse_port(each);
        for (unsigned number = port.range.first; number <= port.range.last; ++number) {
            const std::string text = fmt::format("{}/{}", number, port.range.protocol);
            state.image.config.exposed_ports.try_emplace(text, boost::json::object{});
            said.push_back(text);
        }
    }
    remember(state, "EXPOSE " + plain_list(said), false);
}

void Converter::apply(StageDraft& state, const Instruction&, const Healthcheck& check) {
    oci::HealthConfig out;
    out.test = check.test;
    out.interval = check.interval.count();
    out.timeout = check.timeout.count();
    out.start_period = check.start_period.count();
    out.start_interval = check.start_interval.count();
    out.retries = check.retries;
    // Go's %q of the structure: a number is a character to it.
    const auto time = [](std::chrono::nanoseconds of) { return in_quotes(go_duration(of)); };
    remember(state,
             fmt::format("HEALTHCHECK &{{{} {} {} {} {} {}}}", quoted_list(check.test), time(check.interval), time(check.timeout),
                         time(check.start_period), time(check.start_interval), quoted_character(check.retries)),
             false);
    state.image.config.healthcheck = std::move(out);
}

void Converter::apply(StageDraft& state, const Instruction&, const Maintainer& maintainer) {
    state.image.author = maintainer.name;
    remember(state, "MAINTAINER " + maintainer.name, false);
}

void Converter::apply(StageDraft& state, const Instruction&, const OnBuild& on_build) {
    state.image.config.on_build.push_back(on_build.expression);
}

void Converter::apply(StageDraft& state, const Instruction&, const Shell& shell) {
    state.image.config.shell = shell.words;
    remember(state, "SHELL " + plain_list(shell.words), false);
}

void Converter::apply(StageDraft& state, const Instruction&, const StopSignal& signal) {
    // A number may be one of another kernel's.
    if (parse_uint(signal.signal).value_or(0) == 0) static_cast<void>(engine::parse_signal(signal.signal));
    state.image.config.stop_signal = signal.signal;
    remember(state, "STOPSIGNAL " + signal.signal, false);
}

void Converter::apply(StageDraft& state, const Instruction&, const User& user) {
    state.image.config.user = user.user;
    remember(state, "USER " + user.user, false);
}

void Converter::apply(StageDraft& state, const Instruction&, const Volume& volume) {
    for (const std::string& each : volume.paths) {
        if (each.empty()) fail(ErrorKind::invalid_argument, "VOLUME specified can not be an empty string");
        state.image.config.volumes.try_emplace(each, boost::json::object{});
    }
    remember(state, "VOLUME " + plain_list(volume.paths), false);
}

void Converter::apply(StageDraft& state, const Instruction& instruction, const Workdir& workdir) {
    // An absolute one stays as it is written.
    const std::string folder = workdir.path.starts_with('/') ? workdir.path : absolute(state.folder, workdir.path, false);
    state.image.config.working_dir = state.folder = folder;
    if (folder == "/") return remember(state, "WORKDIR /", false);
    pb::Op op;
    set_platform(op, state.platform);
    pb::FileAction& action = *op.mutable_file()->add_actions();
    action.set_input(input_of(op, state.files));
    action.set_secondaryinput(-1);
    action.set_output(0);
    pb::FileActionMkDir& make = *action.mutable_mkdir();
    make.set_path(folder);
    make.set_mode(0755);
    make.set_makeparents(true);
    make.set_timestamp(epoch_ ? *epoch_ * 1'000'000'000 : -1);
    if (!state.image.config.user.empty()) set_owner(*make.mutable_owner(), state.image.config.user, action.input());
    const std::string name = shown(state.variables.lookup(), instruction.code, expander_.rules());
    state.files = draft_.add(op, step_name(state, name), metadata(state, instruction));
    draft_.place(state.files, instruction.lines.first, instruction.lines.last);
    remember(state, "WORKDIR " + folder, true);
}

}  // namespace grua::build::dockerfile::detail
