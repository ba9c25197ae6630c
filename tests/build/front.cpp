// build_front [--build-arg NAME=VALUE] [--target STAGE] [--label NAME=VALUE] [--platform P] [--no-cache]: what the front end makes of the
// Dockerfile on standard input, without anything being built: warnings, names of steps, the image's configuration and history. Written as
// tests/conformance/dockerfile/cases/*.expected are, which tests/system/dockerfile_test.py compares.
//
// build_front --call REQUEST …: what a client is answered that asks about the Dockerfile ("lint", "outline"), one object of JSON.
#include "build/dockerfile/answers.hpp"
#include "build/dockerfile/convert.hpp"
#include "build/dockerfile/lint.hpp"

#include <boost/json/serialize.hpp>
#include <iostream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

namespace {

using namespace grua;
using namespace grua::build;
using namespace grua::build::dockerfile;

void set_pair(auto& into, const std::string& pair) {
    const std::size_t sign = pair.find('=');
    if (sign != std::string::npos) into[pair.substr(0, sign)] = pair.substr(sign + 1);
}

struct Flags {
    ConvertOptions options;
    std::optional<std::string> call;
};

Flags read_flags(const std::vector<std::string>& words) {
    Flags flags;
    ConvertOptions& out = flags.options;
    for (std::size_t at = 0; at < words.size(); ++at) {
        const auto value = [&] { return at + 1 < words.size() ? words[++at] : std::string{}; };
        if (words[at] == "--build-arg") set_pair(out.inputs.arguments, value());
        if (words[at] == "--label") set_pair(out.labels, value());
        if (words[at] == "--target") out.inputs.target = value();
        if (words[at] == "--call") flags.call = value();
        if (words[at] == "--no-cache") out.no_cache = true;
        if (words[at] == "--platform") {
            out.has_platform = true;
            out.inputs.target_platform = oci::Platform::parse(value());
        }
    }
    out.context = [](Draft& draft, const std::vector<std::string>&) {
        pb::Op op;
        op.mutable_source()->set_identifier("local://context");
        return draft.add(op, "[internal] load build context");
    };
    return flags;
}

KnownImage busybox(const oci::Platform& platform) {
    KnownImage out;
    out.config.architecture = platform.architecture;
    out.config.os = platform.os;
    out.config.rootfs = {.type = "layers", .diff_ids = {"sha256:" + std::string(64, '1')}};
    out.config.config.cmd = {"sh"};
    out.config.config.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
    return out;
}

std::string text_of(const boost::json::value& value) {
    // With blanks, as Python writes it.
    if (value.is_array()) {
        std::string out;
        for (const auto& each : value.get_array()) out += (out.empty() ? "" : ", ") + text_of(each);
        return "[" + out + "]";
    }
    if (value.is_object()) {
        std::string out;
        std::map<std::string, std::string> sorted;
        for (const auto& each : value.get_object()) sorted[std::string(each.key())] = text_of(each.value());
        for (const auto& [name, text] : sorted)
            out += (out.empty() ? "" : ", ") + boost::json::serialize(boost::json::string(name)) + ": " + text;
        return "{" + out + "}";
    }
    return boost::json::serialize(value);
}

void print(const Conversion& made) {
    std::multiset<std::string> steps;
    const Edge head = read_graph(made.definition);
    for (const VertexPtr& each : in_order(head)) steps.insert(each->name);
    for (const std::string& each : steps) std::cout << "step: " << each << "\n";
    const boost::json::value config = boost::json::parse(json::dump(made.image.config, {}));
    std::map<std::string, std::string> members;
    for (const auto& each : config.get_object()) members[std::string(each.key())] = text_of(each.value());
    for (const auto& [name, text] : members)
        if (text != "[]") std::cout << "config." << name << ": " << text << "\n";
    if (!made.image.author.empty()) std::cout << "author: " << text_of(boost::json::string(made.image.author)) << "\n";
    for (std::size_t at = made.inherited_history; at < made.image.history.size(); ++at) {
        const oci::HistoryEntry& entry = made.image.history[at];
        std::cout << "history: " << (entry.empty_layer ? "empty " : "layer ") << text_of(boost::json::string(entry.created_by))
                  << (entry.created.empty() ? "" : " at " + entry.created) << "\n";
    }
}

Answer answer(Request request, const std::string& source, const LintInputs& inputs) {
    pb::SourceInfo file;
    file.set_filename("Dockerfile");
    file.set_data(source);
    file.set_language("Dockerfile");
    file.mutable_definition()->add_def("what has loaded it");
    switch (request) {
        case Request::lint:
            return lint_answer(lint(source, inputs), file);
        case Request::outline:
            return outline_answer(make_outline(source, {.build = inputs.build, .base_image = inputs.base_image, .is_replaced = {}}),
                                  source);
        case Request::targets:
            return targets_answer(list_targets(source), source);
        case Request::describe:
            break;
    }
    return describe_answer();
}

void print(const Answer& answer) {
    boost::json::object out{{"result.json", answer.json}, {"result.txt", answer.text}, {"version", answer.version}};
    if (answer.status) out["result.statuscode"] = fmt::format("{}", *answer.status);
    std::cout << boost::json::serialize(out) << "\n";
}

}  // namespace

int main(int count, char** words) {
    try {
        const std::string source{std::istreambuf_iterator<char>(std::cin), {}};
        const auto [options, call] = read_flags({words + 1, words + count});
        LintInputs inputs{.build = options.inputs};
        inputs.base_image = [](const std::string& name, const oci::Platform&) -> std::optional<BaseImage> {
            if (name != "busybox") fail(ErrorKind::not_found, "it is not there");
            return BaseImage{.env = {"PATH=/bin"}, .on_build = {}, .platform = {}};
        };
        if (call) {
            const auto request = parse_request("frontend." + *call);
            if (!request) fail(ErrorKind::invalid_argument, "unsupported request frontend.{}", *call);
            print(answer(*request, source, inputs));
            return 0;
        }
        for (const LintWarning& each : lint(source, inputs).warnings) std::cout << "warning: " << short_text(each) << "\n";
        const Dockerfile file = read_dockerfile(source);
        std::map<ImageName, KnownImage> images;
        Conversion made = convert(source, file, options, images);
        while (!made.wanted.empty()) {
            for (const ImageName& each : made.wanted) {
                if (each.reference != "docker.io/library/busybox:latest") fail(ErrorKind::not_found, "{}: not found", each.reference);
                images[each] = busybox(oci::Platform::parse(each.platform));
            }
            made = convert(source, file, options, images);
        }
        print(made);
        return 0;
    } catch (const SourceError& error) {
        std::cout << "lines: " << error.lines().first << "-" << error.lines().last << "\nerror: " << error.what() << "\n";
        return 1;
    } catch (const std::exception& error) {
        std::cout << "error: " << error.what() << "\n";
        return 1;
    }
}
