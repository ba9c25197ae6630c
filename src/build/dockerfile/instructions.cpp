#include "build/dockerfile/instructions.hpp"

#include "base/text.hpp"
#include "base/units.hpp"
#include "build/dockerfile/flags.hpp"
#include "build/dockerfile/suggestion.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <span>

namespace grua::build::dockerfile {
namespace {

using detail::FlagKind;
using detail::Flags;
using detail::KnownFlag;

using Strings = std::vector<std::string>;

template <typename... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) {
    fail(ErrorKind::invalid_argument, format, std::forward<Args>(args)...);
}

[[noreturn]] void at_least_one(std::string_view keyword) { refuse("{} requires at least one argument", keyword); }

void no_flags(const Node& node) { static_cast<void>(Flags(node.flags, {})); }

const std::string& only_argument(const Node& node, std::string_view keyword) {
    if (node.arguments.size() != 1) refuse("{} requires exactly one argument", keyword);
    return node.arguments.front();
}

/// "NAME text" above a stage or an argument describes it.
std::string description_of(std::string_view name, const Strings& comments) {
    if (name.empty()) return {};
    for (const std::string& comment : comments) {
        if (comment.size() > name.size() && comment.starts_with(name) && comment[name.size()] == ' ')
            return comment.substr(name.size() + 1);
    }
    return {};
}

std::vector<KeyValue> read_pairs(const Node& node, std::string_view keyword) {
    no_flags(node);
    if (node.pairs.empty()) at_least_one(keyword);
    if (std::ranges::any_of(node.pairs, [](const KeyValue& pair) { return pair.key.empty(); }))
        refuse("{} names can not be blank", keyword);
    return node.pairs;
}

/// Of a word that is no name of a heredoc, nothing: a quote that is not closed is a part of a path.
std::optional<Heredoc> heredoc_of(std::string_view word) {
    try {
        return parse_heredoc(word);
    } catch (const Error&) {
        return std::nullopt;
    }
}

void need_destination(const Node& node, std::string_view keyword) {
    if (node.arguments.size() >= 2) return;
    refuse("{} requires at least two arguments, but only one was provided. Destination could not be determined", keyword);
}

Sources read_sources(const Node& node, std::string_view keyword) {
    Sources out{.destination = node.arguments.back()};
    if (heredoc_of(out.destination)) refuse("{} cannot accept a heredoc as a destination", keyword);
    std::map<std::string_view, const Heredoc*> contents;
    for (const Heredoc& heredoc : node.heredocs) contents[heredoc.name] = &heredoc;
    for (const std::string& word : std::span(node.arguments).first(node.arguments.size() - 1)) {
        const auto heredoc = heredoc_of(word);
        if (!heredoc) {
            out.paths.push_back(word);
            continue;
        }
        const auto found = contents.find(heredoc->name);
        std::string content = found == contents.end() ? std::string() : found->second->content;
        if (heredoc->strip_tabs) content = without_tabs(content);
        out.files.push_back({.name = heredoc->name, .content = std::move(content), .expand = heredoc->expand});
    }
    return out;
}

Add read_add(const Node& node) {
    need_destination(node, "ADD");
    static constexpr auto known = std::to_array<KnownFlag>({{"chown", FlagKind::text},
                                                            {"chmod", FlagKind::text},
                                                            {"link", FlagKind::truth},
                                                            {"keep-git-dir", FlagKind::truth},
                                                            {"checksum", FlagKind::text},
                                                            {"unpack", FlagKind::truth},
                                                            {"exclude", FlagKind::list}});
    const Flags flags{node.flags, known};
    return {.sources = read_sources(node, "ADD"),
            .chown = flags.text("chown"),
            .chmod = flags.text("chmod"),
            .link = flags.truth("link").value_or(false),
            .exclude = flags.list("exclude"),
            .checksum = flags.text("checksum"),
            .keep_git_dir = flags.truth("keep-git-dir"),
            .unpack = flags.truth("unpack")};
}

Copy read_copy(const Node& node) {
    need_destination(node, "COPY");
    static constexpr auto known = std::to_array<KnownFlag>({{"chown", FlagKind::text},
                                                            {"from", FlagKind::text},
                                                            {"chmod", FlagKind::text},
                                                            {"link", FlagKind::truth},
                                                            {"exclude", FlagKind::list},
                                                            {"parents", FlagKind::truth}});
    const Flags flags{node.flags, known};
    return {.sources = read_sources(node, "COPY"),
            .from = flags.text("from"),
            .chown = flags.text("chown"),
            .chmod = flags.text("chmod"),
            .link = flags.truth("link").value_or(false),
            .parents = flags.truth("parents").value_or(false),
            .exclude = flags.list("exclude")};
}

// Its flags are not looked at, as BuildKit has it.
Arg read_arg(const Node& node) {
    if (node.arguments.empty()) at_least_one("ARG");
    Arg out;
    for (const std::string& argument : node.arguments) {
        Arg::Declared declared;
        const std::size_t sign = argument.find('=');
        if (sign == 0) refuse("ARG names can not be blank");
        declared.key = argument.substr(0, sign);
        if (sign != std::string::npos) declared.value = argument.substr(sign + 1);
        out.declared.push_back(std::move(declared));
    }
    // Each comment is looked at once, however many arguments there are.
    std::map<std::string_view, std::string_view> descriptions;
    for (const std::string& comment : node.comments) {
        const std::size_t space = comment.find(' ');
        if (space != std::string::npos) {
            descriptions.try_emplace(std::string_view(comment).substr(0, space), std::string_view(comment).substr(space + 1));
        }
    }
    for (Arg::Declared& declared : out.declared) {
        if (const auto found = descriptions.find(declared.key); found != descriptions.end()) declared.description = found->second;
    }
    return out;
}

CommandLine read_command(const Node& node) {
    CommandLine out{.words = node.arguments, .in_shell = !node.is_json};
    for (const Heredoc& heredoc : node.heredocs) {
        out.files.push_back({.name = heredoc.name, .content = heredoc.content, .strip_tabs = heredoc.strip_tabs});
    }
    return out;
}

bool is_stage_name(std::string_view name) {
    const auto letter = [](char c) { return c >= 'a' && c <= 'z'; };
    return !name.empty() && letter(name.front()) &&
           std::ranges::all_of(name, [&](char c) { return letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.'; });
}

From read_from(const Node& node) {
    const Strings& words = node.arguments;
    From out;
    if (words.size() == 3 && to_lower(words[1]) == "as") {
        out.name = to_lower(words[2]);
        if (!is_stage_name(out.name)) {
            refuse("invalid name for build stage: {}, name can't start with a number or contain symbols", in_quotes(words[2]));
        }
    } else if (words.size() != 1) {
        refuse("FROM requires either one or three arguments");
    }
    static constexpr std::array known{KnownFlag{"platform", FlagKind::text}};
    out.platform = Flags(node.flags, known).text("platform");
    out.base = words.front();
    out.description = description_of(out.name, node.comments);
    return out;
}

std::chrono::nanoseconds read_interval(const Flags& flags, std::string_view name) {
    const std::string text = flags.text(name);
    if (text.empty()) return {};
    const std::chrono::nanoseconds out{parse_duration(text)};
    if (out.count() != 0 && out < std::chrono::milliseconds(1)) refuse("Interval \"{}\" cannot be less than 1ms", name);
    return out;
}

int read_retries(const std::string& text) {
    if (text.empty()) return 0;
    const auto number = parse_int(text.starts_with('+') ? std::string_view(text).substr(1) : std::string_view(text));
    if (!number) refuse("strconv.ParseInt: parsing {}: invalid syntax", in_quotes(text));
    if (*number > 0x7FFFFFFF || *number < -0x80000000LL) refuse("strconv.ParseInt: parsing {}: value out of range", in_quotes(text));
    if (*number < 0) refuse("--retries cannot be negative ({})", *number);
    return static_cast<int>(*number);
}

Healthcheck read_healthcheck(const Node& node) {
    if (node.arguments.empty()) at_least_one("HEALTHCHECK");
    const std::string kind = to_upper(node.arguments.front());
    if (kind == "NONE") {
        if (node.arguments.size() > 1) refuse("HEALTHCHECK NONE takes no arguments");
        return {.test = {kind}};
    }
    static constexpr auto known = std::to_array<KnownFlag>({{"interval", FlagKind::text},
                                                            {"timeout", FlagKind::text},
                                                            {"start-period", FlagKind::text},
                                                            {"start-interval", FlagKind::text},
                                                            {"retries", FlagKind::text}});
    const Flags flags{node.flags, known};
    if (kind != "CMD") refuse("Unknown type {} in HEALTHCHECK (try CMD)", in_quotes(kind));
    if (node.arguments.size() < 2) refuse("Missing command after HEALTHCHECK CMD");
    Healthcheck out{.test = node.arguments};
    out.test.front() = node.is_json ? "CMD" : "CMD-SHELL";
    out.interval = read_interval(flags, "interval");
    out.timeout = read_interval(flags, "timeout");
    out.start_period = read_interval(flags, "start-period");
    out.start_interval = read_interval(flags, "start-interval");
    out.retries = read_retries(flags.text("retries"));
    return out;
}

Expose read_expose(const Node& node) {
    if (node.arguments.empty()) at_least_one("EXPOSE");
    no_flags(node);
    Expose out{node.arguments};
    std::ranges::sort(out.ports);
    return out;
}

OnBuild read_onbuild(const Node& node) {
    if (node.trigger.empty()) at_least_one("ONBUILD");
    no_flags(node);
    const std::string trigger = to_upper(dockerfile::trim(node.trigger.front().keyword));
    if (trigger == "ONBUILD") refuse("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
    if (trigger == "MAINTAINER" || trigger == "FROM") refuse("{} isn't allowed as an ONBUILD trigger", trigger);
    OnBuild out{std::string(dockerfile::trim_left(dockerfile::trim_left(node.original).substr(node.keyword.size())))};
    for (const Heredoc& heredoc : node.heredocs) out.expression += "\n" + heredoc.content + heredoc.name;
    return out;
}

Run read_run(const Node& node) {
    static constexpr auto known = std::to_array<KnownFlag>(
        {{"device", FlagKind::list}, {"mount", FlagKind::list}, {"network", FlagKind::text}, {"security", FlagKind::text}});
    const Flags flags{node.flags, known};
    Run out{.command = read_command(node), .mount_flags = flags.list("mount"), .flags_used = flags.used()};
    for (const std::string& device : flags.list("device")) out.devices.push_back(parse_device(device));
    for (const std::string& mount : out.mount_flags) out.mount_sources.push_back(mount_source_stage(mount));
    const auto given = [&](std::string_view name) { return std::ranges::find(out.flags_used, name) != out.flags_used.end(); };
    if (given("network")) out.network = parse_run_network(flags.text("network"));
    if (given("security")) out.security = parse_run_security(flags.text("security"));
    return out;
}

Shell read_shell(const Node& node) {
    no_flags(node);
    if (node.arguments.empty()) at_least_one("SHELL");
    if (!node.is_json) refuse("SHELL requires the arguments to be in JSON form");
    return {node.arguments};
}

Volume read_volume(const Node& node) {
    if (node.arguments.empty()) at_least_one("VOLUME");
    no_flags(node);
    Volume out;
    for (const std::string& argument : node.arguments) {
        out.paths.emplace_back(dockerfile::trim(argument));
        if (out.paths.back().empty()) refuse("VOLUME specified can not be an empty string");
    }
    return out;
}

template <typename T>
T read_text(const Node& node, std::string_view keyword) {
    T out{only_argument(node, keyword)};
    no_flags(node);
    return out;
}

template <typename T>
T read_program(const Node& node) {
    no_flags(node);
    return {read_command(node)};
}

struct Reader {
    std::string_view keyword;
    Body (*read)(const Node&);
};

constexpr auto readers = std::to_array<Reader>({
    {"ADD", [](const Node& node) -> Body { return read_add(node); }},
    {"ARG", [](const Node& node) -> Body { return read_arg(node); }},
    {"CMD", [](const Node& node) -> Body { return read_program<Cmd>(node); }},
    {"COPY", [](const Node& node) -> Body { return read_copy(node); }},
    {"ENTRYPOINT", [](const Node& node) -> Body { return read_program<Entrypoint>(node); }},
    {"ENV", [](const Node& node) -> Body { return Env{read_pairs(node, "ENV")}; }},
    {"EXPOSE", [](const Node& node) -> Body { return read_expose(node); }},
    {"FROM", [](const Node& node) -> Body { return read_from(node); }},
    {"HEALTHCHECK", [](const Node& node) -> Body { return read_healthcheck(node); }},
    {"LABEL", [](const Node& node) -> Body { return Label{read_pairs(node, "LABEL")}; }},
    {"MAINTAINER", [](const Node& node) -> Body { return read_text<Maintainer>(node, "MAINTAINER"); }},
    {"ONBUILD", [](const Node& node) -> Body { return read_onbuild(node); }},
    {"RUN", [](const Node& node) -> Body { return read_run(node); }},
    {"SHELL", [](const Node& node) -> Body { return read_shell(node); }},
    // Its flags are not looked at either.
    {"STOPSIGNAL", [](const Node& node) -> Body { return StopSignal{only_argument(node, "STOPSIGNAL")}; }},
    {"USER", [](const Node& node) -> Body { return read_text<User>(node, "USER"); }},
    {"VOLUME", [](const Node& node) -> Body { return read_volume(node); }},
    {"WORKDIR", [](const Node& node) -> Body { return read_text<Workdir>(node, "WORKDIR"); }},
});

Body read_body(const Node& node) {
    const auto found = std::ranges::find(readers, to_upper(node.keyword), &Reader::keyword);
    if (found != readers.end()) return found->read(node);
    std::vector<std::string_view> names;
    for (const Reader& reader : readers) names.push_back(reader.keyword);
    refuse("unknown instruction: {}{}", shortened(node.keyword), did_you_mean(node.keyword, names, Case::ignored));
}

}  // namespace

Instruction read_instruction(const Node& node) {
    return at_lines(node.lines, [&] {
        return Instruction{.body = read_body(node),
                           .keyword = node.keyword,
                           .code = std::string(dockerfile::trim(node.original)),
                           .lines = node.lines,
                           .comments = node.comments};
    });
}

Instruction read_trigger(std::string_view expression, LineRange lines) {
    try {
        ParsedFile file = parse(expression);
        if (file.nodes.size() != 1) refuse("onbuild trigger should be a single expression");
        file.nodes.front().lines = lines;
        Instruction out = read_instruction(file.nodes.front());
        if (std::holds_alternative<From>(out.body)) refuse("FROM isn't allowed as an ONBUILD trigger");
        return out;
    } catch (const Error& error) {
        throw SourceError(error.what(), lines);
    }
}

}  // namespace grua::build::dockerfile
