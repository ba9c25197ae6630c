#include "build/dockerfile/parser.hpp"

#include "base/text.hpp"
#include "build/dockerfile/directives.hpp"
#include "build/dockerfile/expansion.hpp"
#include "build/dockerfile/line_words.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace grua::build::dockerfile {
namespace {

enum class Form { unknown, words, list_or_json, text_or_json, text, assignments, pairs, health, trigger };

struct Keyword {
    std::string_view name;
    Form form;
};

constexpr auto keywords = std::to_array<Keyword>({
    {"add", Form::list_or_json},
    {"arg", Form::assignments},
    {"cmd", Form::text_or_json},
    {"copy", Form::list_or_json},
    {"entrypoint", Form::text_or_json},
    {"env", Form::pairs},
    {"expose", Form::words},
    {"from", Form::words},
    {"healthcheck", Form::health},
    {"label", Form::pairs},
    {"maintainer", Form::text},
    {"onbuild", Form::trigger},
    {"run", Form::text_or_json},
    {"shell", Form::text_or_json},
    {"stopsignal", Form::text},
    {"user", Form::text},
    {"volume", Form::list_or_json},
    {"workdir", Form::text},
});

Form form_of(std::string_view keyword) {
    const auto found = std::ranges::find(keywords, to_lower(keyword), &Keyword::name);
    return found == keywords.end() ? Form::unknown : found->form;
}

/// The lines of a file with their ends.
class Lines {
public:
    explicit Lines(std::string_view source) : rest_(source) {}

    std::optional<std::string_view> next() {
        if (rest_.empty()) return std::nullopt;
        ++line_;
        const std::size_t end = rest_.find('\n');
        if (std::min(end, rest_.size()) > line_limit) {
            throw SourceError(fmt::format("dockerfile line greater than max allowed size of {}", line_limit), {line_, line_});
        }
        const std::string_view out = rest_.substr(0, end == std::string_view::npos ? end : end + 1);
        rest_.remove_prefix(out.size());
        return out;
    }

    int line() const noexcept { return line_; }  ///< Of what next() gave.

private:
    std::string_view rest_;
    int line_ = 0;
};

std::string_view without_end(std::string_view line) {
    while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
    return line;
}

bool is_comment(std::string_view line) { return trim_left(line).starts_with('#'); }

/// True where the line goes on: an escape character that is not itself escaped, and blanks at most behind it, all of which is cut off.
bool cut_continuation(std::string_view& line, char escape) {
    const std::size_t last = line.find_last_not_of(" \t");
    if (last == std::string_view::npos || line[last] != escape || (last > 0 && line[last - 1] == escape)) return false;
    line = line.substr(0, last);
    return true;
}

void read_arguments(Node& node, std::string_view text, char escape);

Node node_of(std::string_view line, char escape) {
    Node node{.original = std::string(line)};
    const std::vector<std::string_view> parts = detail::split_once(dockerfile::trim(line));
    node.keyword = parts[0];
    std::string_view rest = parts.size() > 1 ? parts[1] : std::string_view{};
    node.flags = detail::take_flags(rest, escape);
    read_arguments(node, dockerfile::trim(rest), escape);
    return node;
}

void read_text_or_json(Node& node, std::string_view text) {
    if (text.empty()) return;
    node.is_json = detail::read_json(text, node.arguments);
    if (!node.is_json) node.arguments.emplace_back(text);
}

void read_health(Node& node, std::string_view text) {
    if (text.empty()) return;
    std::size_t end = 0;
    while (end < text.size() && space_length(text.substr(end)) == 0) ++end;
    const std::string kind{text.substr(0, end)};
    read_text_or_json(node, trim_left(text.substr(end)));
    node.arguments.insert(node.arguments.begin(), kind);
}

void read_trigger(Node& node, std::string_view text, char escape) {
    if (text.empty()) return;
    const std::string keyword = to_lower(detail::split_once(text).front());
    // What ONBUILD may not trigger is not looked into: it could be ONBUILD again, to any depth.
    Node trigger = keyword == "onbuild" ? Node{.keyword = keyword, .original = std::string(text)} : node_of(text, escape);
    node.arguments.push_back(trigger.keyword);
    node.trigger.push_back(std::move(trigger));
}

void read_arguments(Node& node, std::string_view text, char escape) {
    switch (form_of(node.keyword)) {
        case Form::words:
            node.arguments = detail::fields(text);
            return;
        case Form::list_or_json:
            node.is_json = detail::read_json(text, node.arguments);
            if (!node.is_json) node.arguments = detail::fields(text);
            return;
        case Form::text_or_json:
            return read_text_or_json(node, text);
        case Form::text:
            if (!text.empty()) node.arguments.emplace_back(text);
            return;
        case Form::assignments:
            node.arguments = detail::words(text, escape);
            return;
        case Form::pairs:
            node.pairs = detail::pairs(text, to_upper(node.keyword), escape);
            return;
        case Form::health:
            return read_health(node, text);
        case Form::trigger:
            return read_trigger(node, text, escape);
        case Form::unknown:
            return;
    }
}

bool may_have_heredoc(const Node& node) {
    const Node& one = node.trigger.empty() ? node : node.trigger.front();
    const std::string keyword = to_lower(one.keyword);
    return (keyword == "add" || keyword == "copy" || keyword == "run") && !one.is_json;
}

/// A line whose quotes are not closed has none: it is a shell's business.
std::vector<std::string> heredoc_words(std::string_view line) {
    try {
        return Expander({.keep_quotes = true, .keep_escapes = true, .keep_unset = true}).expand(line, {}).words;
    } catch (const Error&) {
        return {};
    }
}

class Parser {
public:
    explicit Parser(std::string_view source) : lines_(without_mark(source)) {}

    ParsedFile run() {
        while (const auto line = lines_.next()) read_line(*line);
        if (out_.nodes.empty()) throw SourceError("file with no instructions", {lines_.line(), lines_.line()});
        return std::move(out_);
    }

private:
    void read_line(std::string_view whole) {
        std::string_view line = trim_left(without_end(whole));
        if (take_directive(line)) return;
        if (line.starts_with('#')) {
            const std::string_view comment = dockerfile::trim(line.substr(1));
            if (comment.empty()) {
                comments_.clear();
            } else {
                comments_.emplace_back(comment);
            }
            return;
        }
        const int first = lines_.line();
        const bool goes_on = cut_continuation(line, out_.escape);
        if (!goes_on && line.empty()) return;
        std::string joined{line};
        if (goes_on) read_continuation(joined);
        at_lines({first, lines_.line()}, [&] { add(joined, first); });
    }

    bool take_directive(std::string_view line) {
        const auto directive = directives_.read(line);
        if (directive && directive->name == "escape") {
            if (directive->value != "\\" && directive->value != "`") {
                throw SourceError(fmt::format("invalid escape token '{}' does not match ` or \\", shortened(directive->value)),
                                  {directive->line, directive->line});
            }
            out_.escape = directive->value.front();
        }
        return directive.has_value();
    }

    void read_continuation(std::string& joined) {
        bool had_empty = false;
        while (const auto whole = lines_.next()) {
            static_cast<void>(directives_.read("."));
            std::string_view line = without_end(*whole);
            if (is_comment(line)) continue;
            if (trim_left(line).empty()) {
                had_empty = true;
                continue;
            }
            const bool goes_on = cut_continuation(line, out_.escape);
            joined += line;
            if (!goes_on) break;
        }
        if (had_empty) out_.empty_continuations.push_back({lines_.line(), lines_.line()});
    }

    void add(std::string_view line, int first) {
        Node node = node_of(line, out_.escape);
        if (may_have_heredoc(node) && line.contains("<<")) read_heredocs(node, line);
        node.lines = {first, lines_.line()};
        for (Node& trigger : node.trigger) trigger.lines = node.lines;
        node.comments = std::move(comments_);
        comments_.clear();
        out_.nodes.push_back(std::move(node));
    }

    void read_heredocs(Node& node, std::string_view line) {
        for (const std::string& word : heredoc_words(line)) {
            auto heredoc = parse_heredoc(word);
            if (!heredoc) continue;
            read_content(*heredoc);
            node.heredocs.push_back(std::move(*heredoc));
        }
    }

    void read_content(Heredoc& heredoc) {
        const int first = lines_.line();
        while (const auto whole = lines_.next()) {
            std::string_view line = without_end(*whole);
            if (heredoc.strip_tabs) line.remove_prefix(std::min(line.find_first_not_of('\t'), line.size()));
            if (line == heredoc.name) return;
            heredoc.content += *whole;
        }
        throw SourceError("unterminated heredoc", {first, lines_.line()});
    }

    Lines lines_;
    DirectiveReader directives_;
    std::vector<std::string> comments_;
    ParsedFile out_;
};

std::size_t quotes_in(std::string_view text) {
    return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return c == '\'' || c == '"'; }));
}

}  // namespace

ParsedFile parse(std::string_view source) { return Parser{source}.run(); }

std::optional<Heredoc> parse_heredoc(std::string_view word) {
    std::size_t at = std::min(word.find_first_not_of("0123456789"), word.size());
    Heredoc out;
    std::from_chars(word.begin(), word.begin() + at, out.descriptor);
    if (!word.substr(at).starts_with("<<")) return std::nullopt;
    at += 2;
    if (word.substr(at).starts_with('-')) {
        out.strip_tabs = true;
        ++at;
    }
    at = std::min(word.find_first_not_of(" \t\n\f\r", at), word.size());
    const std::string_view rest = word.substr(at);
    if (rest.empty() || rest.contains('<')) return std::nullopt;
    const std::vector<std::string> plain = Expander({.keep_unset = true}).expand(rest, {}).words;
    if (plain.size() != 1) return std::nullopt;
    const std::vector<std::string> raw = Expander({.keep_quotes = true, .keep_unset = true}).expand(rest, {}).words;
    out.name = plain.front();
    out.expand = raw.size() == 1 && quotes_in(raw.front()) == quotes_in(out.name);
    return out;
}

std::string without_tabs(std::string_view content) {
    std::string out;
    out.reserve(content.size());
    bool at_front = true;
    for (const char c : content) {
        if (at_front && c == '\t') continue;
        out += c;
        at_front = c == '\n';
    }
    return out;
}

}  // namespace grua::build::dockerfile
