// Dockerfiles: what is parsed keeps to its lines, a word that is expanded stays within its bound, lint says what the parser says, and what
// is converted is a graph.
#include "build/dockerfile/convert.hpp"
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

/// With images that have whatever they are asked for, one of which is a folder.
void convert(std::string_view source) {
    const Dockerfile file = read_dockerfile(source);
    ConvertOptions options;
    options.inputs.build_platform = options.inputs.target_platform = oci::Platform::parse("linux/amd64");
    options.contexts = {"folder"};
    options.context = [](build::Draft& draft, const std::vector<std::string>& paths) {
        build::pb::Op op;
        op.mutable_source()->set_identifier("local://context");
        for (const std::string& each : paths) (*op.mutable_source()->mutable_attrs())["followpaths"] += each + ",";
        return draft.add(op, "context");
    };
    KnownImage image;
    image.config.os = "linux";
    image.config.architecture = "amd64";
    image.config.rootfs = {.type = "layers", .diff_ids = {"sha256:" + std::string(64, 'a')}};
    image.config.config.env = {"PATH=/bin", "A=1"};
    image.config.config.on_build = {"COPY $A /", "ARG BUILDKIT_SBOM_SCAN_CONTEXT=true"};
    std::map<ImageName, KnownImage> images;
    for (;;) {
        const Conversion made = build::dockerfile::convert(source, file, options, images);
        if (made.wanted.empty()) {
            static_cast<void>(build::read_graph(made.definition));
            for (const auto& [name, definition] : made.also_scanned) static_cast<void>(build::read_graph(definition));
            return;
        }
        for (const ImageName& each : made.wanted) {
            fuzz::check(!images.contains(each));
            images[each] = image;
            if (each.is_context) images[each] = {.files = [&options](build::Draft& draft) { return options.context(draft, {}); }};
        }
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
    fuzz::refuses_or_takes([&] { convert(source); });
    return fuzz::refuses_or_takes([&] {
        const Dockerfile file = read_dockerfile(source);
        Expander expander({.escape = file.escape});
        const StageGraph graph = make_graph(file, {}, expander);
        fuzz::check(graph.needed_for(graph.target("")).back());
    });
}
