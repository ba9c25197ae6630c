// Dockerfiles: what is parsed keeps to its lines, a word that is expanded stays within its bound, and lint says what the parser says.
#include "build/dockerfile/directives.hpp"
#include "build/dockerfile/lint.hpp"
#include "fuzz.hpp"

#include <algorithm>

namespace {

using namespace grua;
using namespace grua::build::dockerfile;

void check_lines(LineRange lines, int last) { fuzz::check(lines.first >= 1 && lines.first <= lines.last && lines.last <= last); }

/// Words of the file itself, with the variables of other words.
void expand(const Node& node, Environment& environment, Expander& expander) {
    for (const std::string& argument : node.arguments) {
        fuzz::refuses_or_takes([&] {
            const Expanded out = expander.expand(argument, environment);
            for (const std::string& name : out.used) fuzz::check(environment.contains(name));
            for (const std::string& name : out.missing) fuzz::check(!environment.contains(name));
            environment.set(argument.substr(0, argument.find('=')), out.text);
        });
    }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view source = fuzz::text(data, size);
    const int last = static_cast<int>(std::ranges::count(source, '\n')) + 1;
    static_cast<void>(detect_syntax(source));
    bool parsed = false;
    fuzz::refuses_or_takes([&] {
        const ParsedFile file = parse(source);
        parsed = true;
        Environment environment;
        Expander expander({.escape = file.escape});
        for (const Node& node : file.nodes) {
            check_lines(node.lines, last);
            expand(node, environment, expander);
        }
    });
    LintInputs inputs;
    inputs.base_image = [](const std::string&, const oci::Platform&) { return BaseImage{.env = {"PATH=/bin"}, .on_build = {"COPY $A /"}}; };
    const LintResult result = lint(source, inputs);
    fuzz::check(parsed || result.error);
    for (const LintWarning& warning : result.warnings) {
        check_lines(warning.lines, last);
        fuzz::check(!warning.detail.empty());
    }
    if (result.error && result.error->lines().first != 0) {
        fuzz::check(result.error->lines().last <= last && *result.error->what() != '\0');
    }
    return fuzz::refuses_or_takes([&] {
        const Dockerfile file = read_dockerfile(source);
        Expander expander({.escape = file.escape});
        const StageGraph graph = make_graph(file, {}, expander);
        fuzz::check(graph.needed_for(graph.target("")).back());
    });
}
