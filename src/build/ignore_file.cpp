#include "build/ignore_file.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "base/utf8.hpp"

#include <algorithm>
#include <boost/container/small_vector.hpp>

namespace grua::build {
namespace {

[[noreturn]] void bad_pattern() { fail(ErrorKind::invalid_argument, "syntax error in pattern"); }

/// A byte that begins no character is one of its own, which no character is.
constexpr char32_t first_byte = 0x110000;

char32_t decode(std::string_view text, std::size_t& at) {
    const auto byte = [&](std::size_t index) { return static_cast<char32_t>(static_cast<unsigned char>(text[index])); };
    const std::size_t length = utf8_length(text.substr(at));
    if (length == 0) return first_byte + byte(at++);
    char32_t out = byte(at);
    if (length > 1) {
        out &= 0xFFU >> (length + 1);
        for (std::size_t i = 1; i < length; ++i) out = (out << 6) | (byte(at + i) & 0x3F);
    }
    at += length;
    return out;
}

/// One character of a set, which may be escaped.
char32_t set_character(std::string_view text, std::size_t& at) {
    if (at >= text.size() || text[at] == '-' || text[at] == ']') bad_pattern();
    if (text[at] == '\\') ++at;
    if (at >= text.size()) bad_pattern();
    const char32_t out = decode(text, at);
    if (out >= first_byte || at >= text.size()) bad_pattern();
    return out;
}

/// The states of a pattern's tokens that are active, each once.
class ActiveStates {
public:
    explicit ActiveStates(std::size_t count) : marks_(count, 0) {}

    void clear() {
        list_.clear();
        ++turn_;
    }

    bool add(std::uint32_t state) {
        if (marks_[state] == turn_) return false;
        marks_[state] = turn_;
        list_.push_back(state);
        return true;
    }

    bool contains(std::uint32_t state) const { return marks_[state] == turn_; }
    bool empty() const { return list_.empty(); }
    const auto& list() const { return list_; }

private:
    boost::container::small_vector<std::uint32_t, 64> marks_;
    boost::container::small_vector<std::uint32_t, 64> list_;
    std::uint32_t turn_ = 1;
};

}  // namespace

PathPattern::PathPattern(std::string_view text) : text_(text) {
    is_literal_ = text_.find_first_of("*?[\\") == std::string::npos;
    if (!is_literal_) compile();
}

void PathPattern::compile() {
    // ** right before a plain name is any text before it: **foo is also what ends in foo.
    const std::string_view text = text_;
    const bool is_suffix = text.starts_with("**") && text.find_first_of("*?[\\", 2) == std::string_view::npos && !text.starts_with("**/");
    std::size_t at = 0;
    if (is_suffix) {
        tokens_.push_back({.kind = Kind::rest});
        at = 2;
    }
    while (at < text.size()) {
        if (text[at] == '*' && text.substr(at).starts_with("**")) {
            at += 2;
            if (at < text.size() && text[at] == '/') ++at;
            if (at == text.size()) {
                tokens_.push_back({.kind = Kind::rest});
            } else {
                tokens_.push_back({.kind = Kind::deep});
                tokens_.push_back({.kind = Kind::deep_loop});
            }
        } else if (text[at] == '*') {
            tokens_.push_back({.kind = Kind::star});
            ++at;
        } else if (text[at] == '?') {
            tokens_.push_back({.kind = Kind::any});
            ++at;
        } else if (text[at] == '[') {
            compile_set(at);
        } else {
            if (text[at] == '\\') ++at;
            if (at == text.size()) bad_pattern();
            tokens_.push_back({.kind = Kind::literal, .character = decode(text, at)});
        }
    }
}

void PathPattern::compile_set(std::size_t& at) {
    const std::string_view text = text_;
    Token token{.kind = Kind::set};
    ++at;
    if (at < text.size() && text[at] == '^') {
        token.negated = true;
        ++at;
    }
    while (token.ranges.empty() || at >= text.size() || text[at] != ']') {
        const char32_t first = set_character(text, at);
        char32_t last = first;
        if (text[at] == '-') {
            ++at;
            last = set_character(text, at);
        }
        token.ranges.push_back({first, last});
    }
    ++at;
    tokens_.push_back(std::move(token));
}

bool PathPattern::accepts(const Token& token, char32_t character) {
    switch (token.kind) {
        case Kind::literal:
            return token.character == character;
        case Kind::any:
        case Kind::star:
            return character != U'/';
        case Kind::set:
            return token.negated != std::ranges::any_of(token.ranges, [&](const Range& range) {
                       return range.first <= character && character <= range.last;
                   });
        case Kind::deep:
            return false;
        case Kind::deep_loop:
        case Kind::rest:
            return true;
    }
    return false;
}

PathPattern::Outcome PathPattern::run_literal(std::string_view path) const {
    const std::string_view text = text_;
    return {.whole = path == text,
            .above = path.size() > text.size() && path.starts_with(text) && path[text.size()] == '/',
            .goes_on = text.size() > path.size() && text.starts_with(path) && text[path.size()] == '/'};
}

// All ways through the tokens at the same time, so that none is gone back on.
PathPattern::Outcome PathPattern::run(std::string_view path) const {
    if (is_literal_) return run_literal(path);
    const auto count = static_cast<std::uint32_t>(tokens_.size());
    ActiveStates now{count + 1};
    ActiveStates then{count + 1};
    // A state and those that need no character to be reached from it.
    const auto enter = [&](ActiveStates& states, std::uint32_t state) {
        while (states.add(state) && state < count) {
            const Kind kind = tokens_[state].kind;
            if (kind == Kind::star || kind == Kind::rest) {
                ++state;
            } else if (kind == Kind::deep) {
                states.add(state + 1);
                state += 2;
            } else {
                return;
            }
        }
    };
    const auto step = [&](char32_t character) {
        then.clear();
        for (const std::uint32_t state : now.list()) {
            if (state == count || !accepts(tokens_[state], character)) continue;
            const Kind kind = tokens_[state].kind;
            if (kind == Kind::star || kind == Kind::rest) {
                enter(then, state);
            } else if (kind == Kind::deep_loop) {
                then.add(state);
                if (character == U'/') enter(then, state + 1);
            } else {
                enter(then, state + 1);
            }
        }
        std::swap(now, then);
    };
    Outcome out;
    enter(now, 0);
    for (std::size_t at = 0; at < path.size() && !now.empty();) {
        if (path[at] == '/' && now.contains(count)) out.above = true;
        step(decode(path, at));
    }
    if (now.empty()) return out;
    out.whole = now.contains(count);
    step(U'/');
    out.goes_on = std::ranges::any_of(now.list(), [&](std::uint32_t state) { return state != count; });
    return out;
}

bool PathPattern::matches_or_above(std::string_view path) const {
    const Outcome out = run(path);
    return out.whole || out.above;
}

IgnoreFile IgnoreFile::parse(std::string_view source) {
    IgnoreFile out;
    if (source.starts_with("\xEF\xBB\xBF")) source.remove_prefix(3);
    for (int line = 1; !source.empty(); ++line) {
        const std::size_t end = std::min(source.find('\n'), source.size());
        const std::string_view whole = source.substr(0, end);
        source.remove_prefix(std::min(end + 1, source.size()));
        while_doing(fmt::format(".dockerignore line {}", line), [&] {
            if (whole.size() >= ignore_line_limit) fail(ErrorKind::invalid_argument, "longer than {} bytes", ignore_line_limit - 1);
            if (whole.starts_with('#')) return;
            std::string_view pattern = trim(whole);
            if (pattern.empty()) return;
            const bool exception = pattern.starts_with('!');
            if (exception) pattern = trim(pattern.substr(1));
            std::string cleaned = pattern.empty() ? std::string() : clean_path(pattern);
            if (cleaned.size() > 1 && cleaned.front() == '/') cleaned.erase(0, 1);
            out.add((exception ? "!" : "") + cleaned);
        });
    }
    return out;
}

IgnoreFile::IgnoreFile(const std::vector<std::string>& patterns) {
    for (const std::string& pattern : patterns) add(pattern);
}

void IgnoreFile::add(std::string_view pattern) {
    pattern = trim(pattern);
    if (pattern.empty()) return;
    if (rules_.size() >= ignore_pattern_limit) fail(ErrorKind::invalid_argument, "more than {} patterns", ignore_pattern_limit);
    const std::string cleaned = clean_path(pattern);
    const bool exception = cleaned.front() == '!';
    if (exception && cleaned.size() == 1) fail(ErrorKind::invalid_argument, "illegal exclusion pattern: \"!\"");
    rules_.push_back({.pattern = PathPattern(std::string_view(cleaned).substr(exception ? 1 : 0)), .exception = exception});
    has_exceptions_ = has_exceptions_ || exception;
}

IgnoreFile::Answer IgnoreFile::match(std::string_view path, const Above& above) const {
    Answer out;
    out.above.matched_.resize(rules_.size());
    const bool is_top = above.matched_.empty();
    for (std::size_t index = 0; index < rules_.size(); ++index) {
        const Rule& rule = rules_[index];
        bool matched = !is_top && above.matched_[index];
        if (!matched) {
            if (rule.exception != out.ignored) continue;
            matched = is_top ? rule.pattern.matches_or_above(path) : rule.pattern.matches(path);
        }
        out.above.matched_[index] = matched;
        if (matched) out.ignored = !rule.exception;
    }
    return out;
}

bool IgnoreFile::ignores(std::string_view path) const {
    bool ignored = false;
    for (const Rule& rule : rules_) {
        if (rule.exception == ignored && rule.pattern.matches_or_above(path)) ignored = !rule.exception;
    }
    return ignored;
}

bool IgnoreFile::may_take_back_below(std::string_view folder) const {
    return std::ranges::any_of(rules_, [&](const Rule& rule) { return rule.exception && rule.pattern.may_match_below(folder); });
}

std::string clean_path(std::string_view path) {
    const bool rooted = path.starts_with('/');
    std::vector<std::string_view> names;
    for (std::size_t at = 0; at < path.size();) {
        const std::size_t end = std::min(path.find('/', at), path.size());
        const std::string_view name = path.substr(at, end - at);
        at = end + 1;
        if (name.empty() || name == ".") continue;
        if (name != ".." || (!rooted && (names.empty() || names.back() == ".."))) {
            names.push_back(name);
        } else if (!names.empty()) {
            names.pop_back();
        }
    }
    std::string out = rooted ? "/" : "";
    for (const std::string_view name : names) {
        if (!out.empty() && out.back() != '/') out += '/';
        out += name;
    }
    return out.empty() ? "." : out;
}

}  // namespace grua::build
