#include "build/dockerfile/directives.hpp"

#include "base/text.hpp"

#include <boost/json.hpp>

namespace grua::build::dockerfile {
namespace {

/// A JSON document that only names its syntax is small.
constexpr std::size_t json_limit = 1 << 20;

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_name(char c) { return is_letter(c) || (c >= '0' && c <= '9'); }

std::string_view trim_ascii_left(std::string_view text) {
    const std::size_t at = text.find_first_not_of(" \t\r\n\f");
    return at == std::string_view::npos ? std::string_view{} : text.substr(at);
}

/// NAME = VALUE with blanks around the sign and behind the value.
bool take_apart(std::string_view text, std::string& name, std::string& value) {
    if (text.empty() || !is_letter(text.front())) return false;
    std::size_t end = 0;
    while (end < text.size() && is_name(text[end])) ++end;
    name = to_lower(text.substr(0, end));
    text = trim_ascii_left(text.substr(end));
    if (!text.starts_with('=')) return false;
    text = trim_ascii_left(text.substr(1));
    const std::size_t last = text.find_last_not_of(" \t\r\n\f");
    if (last == std::string_view::npos) return false;
    value = text.substr(0, last + 1);
    return true;
}

struct Body {
    std::string_view text;
    int line = 0;  ///< How many lines are before it.
};

Body body_of(std::string_view source) {
    Body out{without_mark(source)};
    if (!out.text.starts_with("#!")) return out;
    const std::size_t end = out.text.find('\n');
    out.text = end == std::string_view::npos ? std::string_view{} : out.text.substr(end + 1);
    out.line = 1;
    return out;
}

std::optional<Directive> find(const Body& body, std::string_view name, std::string_view comment) {
    DirectiveReader reader{comment, body.line};
    std::string_view rest = body.text;
    while (!rest.empty() && !reader.done()) {
        const std::size_t end = rest.find('\n');
        std::string_view line = rest.substr(0, end);
        if (line.ends_with('\r')) line.remove_suffix(1);
        rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
        try {
            auto directive = reader.read(line);
            if (directive && directive->name == name) return directive;
        } catch (const SourceError&) {
            break;  // The parser says so.
        }
    }
    return std::nullopt;
}

std::optional<Directive> find_in_json(const Body& body) {
    if (body.text.size() > json_limit || !trim_ascii_left(body.text).starts_with('{')) return std::nullopt;
    boost::system::error_code failed;
    const boost::json::value document = boost::json::parse(body.text, failed);
    if (failed || !document.is_object()) return std::nullopt;
    const boost::json::value* syntax = document.get_object().if_contains("syntax");
    if (!syntax || !syntax->is_string()) return std::nullopt;
    return Directive{.name = "syntax", .value = std::string(syntax->get_string()), .line = body.line};
}

}  // namespace

std::optional<Directive> DirectiveReader::read(std::string_view line) {
    ++line_;
    if (done_) return std::nullopt;
    Directive out{.line = line_};
    if (!line.starts_with(comment_) || !take_apart(dockerfile::trim_left(line.substr(comment_.size())), out.name, out.value) ||
        (out.name != "syntax" && out.name != "escape" && out.name != "check")) {
        done_ = true;
        return std::nullopt;
    }
    if (!seen_.insert(out.name).second) {
        throw SourceError(fmt::format("only one {} parser directive can be used", out.name), {line_, line_});
    }
    return out;
}

std::optional<Directive> find_directive(std::string_view source, std::string_view name) { return find(body_of(source), name, "#"); }

std::optional<Directive> detect_syntax(std::string_view source) {
    const Body body = body_of(source);
    if (auto found = find(body, "syntax", "#")) return found;
    if (auto found = find(body, "syntax", "//")) return found;
    return find_in_json(body);
}

std::string_view without_mark(std::string_view source) noexcept {
    if (source.starts_with("\xEF\xBB\xBF")) source.remove_prefix(3);
    return source;
}

}  // namespace grua::build::dockerfile
