#include "build/dockerfile/stage_variables.hpp"

#include "build/dockerfile/expand.hpp"

namespace grua::build::dockerfile {
namespace {

bool is_builder_argument(std::string_view name) { return name == scans_context_argument || name == scans_stage_argument; }

}  // namespace

void StageVariables::set(std::string_view variable) {
    const std::size_t sign = variable.find('=');
    variables_.set(variable.substr(0, sign), sign == std::string_view::npos ? std::string() : std::string(variable.substr(sign + 1)));
}

void StageVariables::set_default_path() {
    if (!variables_.contains("PATH")) variables_.set("PATH", std::string(default_path));
}

std::string StageVariables::expand(Expander& expander, std::string_view text, const OnMissing& missing) const {
    std::vector<std::string> names;
    const auto tell = [&] {
        for (const std::string& name : names)
            if (missing && !declared_.contains(name) && !is_builder_argument(name)) missing(name);
    };
    std::string out;
    try {
        out = std::move(expander.expand(text, variables_, &names).text);
    } catch (const Error&) {
        tell();
        throw;
    }
    tell();
    return out;
}

void StageVariables::declare(Arg& arg, VariableSources& sources, const OnMissing& missing) {
    for (Arg::Declared& declared : arg.declared) {
        if (const auto given = sources.given.find(declared.key); given != sources.given.end()) {
            declared.value = given->second;
        } else if (declared.value) {
            declared.value = expand(sources.words, *declared.value, missing);
        } else if (const std::string* global = sources.globals.find(declared.key)) {
            declared.value = *global;
        }
        if (declared.value && !is_builder_argument(declared.key)) variables_.set(declared.key, *declared.value);
        declared_.set(declared.key, "");
    }
}

Instruction StageVariables::take(const Instruction& instruction, VariableSources& sources, const OnMissing& missing) {
    Instruction out = instruction;
    dockerfile::expand(out, {.word = [&](std::string_view word) { return expand(sources.words, word, missing); },
                             .words = [&](std::string_view word) { return sources.words.expand(word, variables_).words; },
                             .heredoc = [&](std::string_view text) { return expand(sources.heredocs, text, missing); }});
    if (const Env* env = std::get_if<Env>(&out.body)) {
        for (const KeyValue& pair : env->pairs) variables_.set(pair.key, pair.value);
    } else if (Arg* arg = std::get_if<Arg>(&out.body)) {
        at_lines(out.lines, [&] { declare(*arg, sources, missing); });
    }
    return out;
}

}  // namespace grua::build::dockerfile
