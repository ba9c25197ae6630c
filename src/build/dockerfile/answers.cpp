#include "build/dockerfile/answers.hpp"

#include "base/encoding.hpp"
#include "base/template.hpp"
#include "base/utf8.hpp"
#include "build/dockerfile/excerpt.hpp"
#include "build/dockerfile/text_table.hpp"
#include "build/graph_json.hpp"

#include <algorithm>
#include <array>
#include <map>

namespace grua::build::dockerfile {
namespace {

constexpr std::string_view version = "1.0.0";  // Of all the forms that are written here.
constexpr std::string_view indentation = "  ";
constexpr std::string_view prefix = "frontend.";

struct Described {
    Request request;
    std::string_view name;
    std::string_view description;
    std::string_view option;  // The one that it has.
    std::string_view option_description;
    bool is_listed = true;
};
constexpr auto requests = std::to_array<Described>({
    {Request::outline, "frontend.outline", "List all parameters current build target supports", "target", "Target build stage"},
    {Request::targets, "frontend.targets", "List all targets current build supports", {}, {}},
    {Request::describe, "frontend.subrequests.describe", "List available subrequest types", {}, {}},
    // BuildKit does not list it either.
    {Request::lint, "frontend.lint", "Lint a Dockerfile", {}, {}, false},
});

json::Value location(LineRange range) {
    if (range.first < 1) return boost::json::object();
    pb::Range out;
    out.mutable_start()->set_line(range.first);
    out.mutable_end()->set_line(range.last);
    return location_json({out});
}

void add_text(boost::json::object& out, std::string_view name, std::string_view text) {
    if (!text.empty()) out[name] = to_valid_utf8(text);
}

Answer make_answer(boost::json::value document, std::string text) {
    return {.json = templates::pretty_json(document, indentation), .text = std::move(text), .version = std::string(version), .status = {}};
}

boost::json::array sources_of(std::string_view source) { return {boost::json::value(base64_encode(source))}; }

// --- lint ---------------------------------------------------------------------------------------------------------------------------

boost::json::object warning_json(const LintWarning& warning) {
    const RuleText& rule = about(warning.rule);
    boost::json::object out{{"ruleName", rule.name}};
    add_text(out, "description", rule.description);
    add_text(out, "url", rule.url);
    add_text(out, "detail", warning.detail);
    out["location"] = location(warning.lines);
    return out;
}

std::string lint_text(const LintResult& found, const wire::graph::SourceInfo& file) {
    std::multimap<int, const LintWarning*> sorted;
    for (const LintWarning& each : found.warnings) sorted.emplace(each.lines.first, &each);
    const Excerpts excerpts(file.filename(), file.data());
    std::string out;
    std::size_t told = 0;
    for (const auto& [line, warning] : sorted) {
        if (out.size() > lint_text_limit) return out + fmt::format("\nand {} more\n", sorted.size() - told);
        ++told;
        const RuleText& rule = about(warning->rule);
        out += fmt::format("\nWARNING: {}{}{}\n{}\n", rule.name, rule.url.empty() ? "" : " - ", rule.url, warning->detail);
        out += excerpts.of(warning->lines);
    }
    return out;
}

// --- outline ------------------------------------------------------------------------------------------------------------------------

boost::json::array needs_json(const std::vector<Outline::Need>& needs) {
    boost::json::array out;
    for (const Outline::Need& each : needs) {
        boost::json::object one{{"name", to_valid_utf8(each.id)}};
        if (each.is_required) one["required"] = true;
        one["location"] = location(each.lines);
        out.push_back(std::move(one));
    }
    return out;
}

boost::json::object outline_json(const Outline& outline, std::string_view source) {
    boost::json::object out;
    add_text(out, "name", outline.name);
    add_text(out, "description", outline.description);
    boost::json::array arguments;
    for (const Outline::Argument& each : outline.arguments) {
        boost::json::object one{{"name", to_valid_utf8(each.name)}};
        add_text(one, "description", each.description);
        add_text(one, "value", each.value);
        one["location"] = location(each.lines);
        arguments.push_back(std::move(one));
    }
    if (!arguments.empty()) out["args"] = std::move(arguments);
    if (!outline.secrets.empty()) out["secrets"] = needs_json(outline.secrets);
    if (!outline.agents.empty()) out["ssh"] = needs_json(outline.agents);
    out["sources"] = sources_of(source);
    return out;
}

std::string needs_text(std::string_view title, const std::vector<Outline::Need>& needs) {
    if (needs.empty()) return {};
    TextTable out(3);
    out.add({std::string(title), "REQUIRED"});
    for (const Outline::Need& each : needs) out.add({each.id, each.is_required ? "true" : ""});
    return out.text() + "\n";
}

std::string outline_text(const Outline& outline) {
    std::string out;
    if (!outline.name.empty() || !outline.description.empty()) {
        TextTable head(1);
        head.add({"TARGET:", outline.name.empty() ? "(default)" : outline.name});
        if (!outline.description.empty()) head.add({"DESCRIPTION:", outline.description});
        out += head.text() + "\n";
    }
    if (!outline.arguments.empty()) {
        TextTable arguments(3);
        arguments.add({"BUILD ARG", "VALUE", "DESCRIPTION"});
        for (const Outline::Argument& each : outline.arguments) arguments.add({each.name, each.value, each.description});
        out += arguments.text() + "\n";
    }
    return out + needs_text("SECRET", outline.secrets) + needs_text("SSH", outline.agents);
}

// --- targets ------------------------------------------------------------------------------------------------------------------------

std::string target_title(const Target& target) {
    if (!target.is_default) return target.name;
    return target.name.empty() ? "(default)" : target.name + " (default)";
}

boost::json::object target_json(const Target& target) {
    boost::json::object out;
    add_text(out, "name", target.name);
    if (target.is_default) out["default"] = true;
    add_text(out, "description", target.description);
    add_text(out, "base", target.base);
    add_text(out, "platform", target.platform);
    out["location"] = location(target.lines);
    return out;
}

// --- which there are ----------------------------------------------------------------------------------------------------------------

boost::json::value named(std::string_view name, std::string_view description) {
    return boost::json::object{{"name", name}, {"description", description}};
}

boost::json::object request_json(const Described& request) {
    boost::json::object out{{"name", request.name}, {"version", version}, {"type", "rpc"}, {"description", request.description}};
    out["opts"] = boost::json::array();
    if (!request.option.empty()) out["opts"] = boost::json::array{named(request.option, request.option_description)};
    if (request.request == Request::describe) out["opts"] = nullptr;  // As BuildKit has it.
    out["inputs"] = nullptr;
    out["metadata"] = boost::json::array{named("result.json", ""), named("result.txt", "")};
    out["refs"] = nullptr;
    return out;
}

}  // namespace

std::optional<Request> parse_request(std::string_view id) {
    const auto found = std::ranges::find(requests, id, &Described::name);
    return found == requests.end() ? std::nullopt : std::optional(found->request);
}

Answer lint_answer(const LintResult& found, const wire::graph::SourceInfo& file) {
    boost::json::object out;
    if (found.warnings.empty()) {
        out["warnings"] = nullptr;
    } else {
        boost::json::array warnings;
        for (const LintWarning& each : found.warnings) warnings.push_back(warning_json(each));
        out["warnings"] = std::move(warnings);
    }
    out["sources"] = boost::json::array{to_json(file)};
    const std::string violation = found.violation();
    if (found.error)
        out["buildError"] =
            boost::json::object{{"message", to_valid_utf8(found.error->what())}, {"location", location(found.error->lines())}};
    else if (!violation.empty())
        out["buildError"] = boost::json::object{{"message", violation}, {"location", location({})}};
    const bool is_fine = found.warnings.empty() && !found.error;
    Answer answer = make_answer(std::move(out), lint_text(found, file));
    answer.status = is_fine ? 0 : 1;
    return answer;
}

Answer outline_answer(const Outline& outline, std::string_view source) {
    return make_answer(outline_json(outline, source), outline_text(outline));
}

Answer targets_answer(const std::vector<Target>& targets, std::string_view source) {
    boost::json::array all;
    TextTable table(1);
    table.add({"TARGET", "DESCRIPTION"});
    for (const Target& each : targets) {
        all.push_back(target_json(each));
        table.add({target_title(each), each.description});
    }
    return make_answer(boost::json::object{{"targets", std::move(all)}, {"sources", sources_of(source)}}, table.text());
}

Answer describe_answer() {
    boost::json::array all;
    TextTable table(1);
    table.add({"NAME", "VERSION", "DESCRIPTION"});
    for (const Described& each : requests) {
        if (!each.is_listed) continue;
        all.push_back(request_json(each));
        table.add({std::string(each.name.substr(prefix.size())), std::string(version), std::string(each.description)});
    }
    return make_answer(std::move(all), table.text());
}

}  // namespace grua::build::dockerfile
