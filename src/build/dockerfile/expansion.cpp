#include "build/dockerfile/expansion.hpp"

#include "base/utf8.hpp"
#include "build/dockerfile/pattern.hpp"
#include "build/dockerfile/source.hpp"

#include <re2/re2.h>
#include <algorithm>
#include <set>
#include <utility>

namespace grua::build::dockerfile {
namespace {

constexpr char no_stop = '\0';

/// Of a pattern, in bytes of expansion_limit: it is compiled.
constexpr std::size_t pattern_cost = 512;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// A letter, a digit or an underscore, in any script.
bool is_name(std::string_view character) {
    const char c = character.front();
    if (static_cast<unsigned char>(c) < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_';
    static const re2::RE2 wide{R"([\p{L}\p{Nd}])"};
    return re2::RE2::FullMatch(re2::StringPiece(character.data(), character.size()), wide);
}

/// POSIX's special parameters, of which none is ever set.
bool is_special(char c) { return std::string_view("@*#?-$!0").find(c) != std::string_view::npos; }

/// The words of a text as it is written.
class Words {
public:
    void add_raw(std::string_view text) {
        buffer_ += text;
        in_word_ = true;
    }

    void add(std::string_view character) {
        if (space_length(character) == 0) return add_raw(character);
        if (in_word_ && !buffer_.empty()) {
            words_.push_back(std::move(buffer_));
            buffer_.clear();
            in_word_ = false;
        }
    }

    std::vector<std::string> take() {
        if (!buffer_.empty()) words_.push_back(std::move(buffer_));
        return std::move(words_);
    }

private:
    std::string buffer_;
    std::vector<std::string> words_;
    bool in_word_ = false;
};

/// Names in the order in which they came first.
class Names {
public:
    void add(const std::string& name) {
        if (seen_.insert(name).second) names_.push_back(name);
    }
    std::vector<std::string> take() { return std::move(names_); }

private:
    std::set<std::string> seen_;
    std::vector<std::string> names_;
};

class Reading {
public:
    Reading(const ExpansionRules& rules, std::string_view text, const Environment& environment, std::size_t& spent)
        : rules_(rules), text_(text), environment_(environment), spent_(spent), keep_escapes_(rules.keep_escapes) {}

    Expanded run() {
        Expanded out;
        Words words;
        out.text = until(no_stop, rules_.keep_escapes, &words);
        out.words = words.take();
        out.used = used_.take();
        out.missing = missing();
        return out;
    }
    std::vector<std::string> missing() { return missing_.take(); }

private:
    bool at_end() const { return at_ >= text_.size(); }
    bool stands_on(char c) const { return !at_end() && text_[at_] == c; }

    std::string_view peek() const {
        const std::string_view rest = text_.substr(at_);
        return rest.substr(0, std::max<std::size_t>(1, utf8_length(rest)));
    }

    std::string_view next() {
        const std::string_view out = peek();
        at_ += out.size();
        return out;
    }

    /// Up to `stop`, which is passed over; `words` gets the same cut at blanks.
    std::string until(char stop, bool keep_escapes, Words* words) {
        if (++depth_ > substitution_depth_limit) fail(ErrorKind::invalid_argument, "syntax error: substitutions nest too deep");
        const bool kept_before = std::exchange(keep_escapes_, keep_escapes);
        std::string out;
        while (!at_end()) {
            const char c = text_[at_];
            if (stop != no_stop && c == stop) {
                ++at_;
                keep_escapes_ = kept_before;
                --depth_;
                return out;
            }
            read_part(c, out, words);
        }
        if (stop != no_stop) {
            fail(ErrorKind::invalid_argument, "unexpected end of statement while looking for matching {}", stop);
        }
        keep_escapes_ = kept_before;
        --depth_;
        return out;
    }

    void read_part(char c, std::string& out, Words* words) {
        if (c == '$') {
            const std::string value = dollar();
            out += value;
            for (std::string_view rest = value; words && !rest.empty();) {
                const std::string_view one = rest.substr(0, std::max<std::size_t>(1, utf8_length(rest)));
                words->add(one);
                rest.remove_prefix(one.size());
            }
        } else if (c == '<' || (!rules_.quotes_plain && (c == '\'' || c == '"'))) {
            const std::string part = c == '<' ? angle() : c == '"' ? double_quoted() : single_quoted();
            out += part;
            if (words) words->add_raw(part);
        } else {
            plain(out, words);
        }
    }

    void plain(std::string& out, Words* words) {
        std::string_view one = next();
        if (one.front() != rules_.escape) {
            out += one;
            if (words) words->add(one);
            return;
        }
        if (keep_escapes_) {
            out += one;
            if (words) words->add_raw(one);
        }
        if (at_end()) return;
        one = next();
        out += one;
        if (words) words->add_raw(one);
    }

    /// The two signs of a heredoc belong to the word that follows, blanks between them or not.
    std::string angle() {
        ++at_;
        if (!stands_on('<')) return "<";
        ++at_;
        std::string out = "<<";
        while (stands_on('\t') || stands_on('\r') || stands_on(' ')) out += text_[at_++];
        return out;
    }

    std::string single_quoted() {
        const std::size_t end = text_.find('\'', at_ + 1);
        if (end == std::string_view::npos) {
            fail(ErrorKind::invalid_argument, "unexpected end of statement while looking for matching single-quote");
        }
        std::string out{rules_.keep_quotes ? text_.substr(at_, end + 1 - at_) : text_.substr(at_ + 1, end - at_ - 1)};
        at_ = end + 1;
        return out;
    }

    std::string double_quoted() {
        std::string out;
        if (rules_.keep_quotes) out += '"';
        ++at_;
        while (!at_end()) {
            const char c = text_[at_];
            if (c == '"') {
                ++at_;
                if (rules_.keep_quotes) out += '"';
                return out;
            }
            if (c == '$') {
                out += dollar();
                continue;
            }
            const std::string_view one = next();
            if (c == rules_.escape) {
                if (keep_escapes_) out += c;
                if (at_end()) break;
                if (stands_on('"') || stands_on('$') || stands_on(rules_.escape)) {
                    out += text_[at_++];
                    continue;
                }
            }
            out += one;
        }
        fail(ErrorKind::invalid_argument, "unexpected end of statement while looking for matching double-quote");
    }

    const std::string* look_up(const std::string& name) {
        const std::string* value = environment_.find(name);
        (value ? used_ : missing_).add(name);
        if (value) charge(value->size());
        return value;
    }

    void charge(std::size_t bytes) {
        spent_ += bytes;
        if (spent_ > expansion_limit) fail(ErrorKind::invalid_argument, "the variables of this Dockerfile expand to too much text");
    }

    std::string name() {
        const std::size_t begin = at_;
        if (!at_end() && is_digit(text_[at_])) {
            while (!at_end() && is_digit(text_[at_])) ++at_;
        } else if (!at_end() && is_special(text_[at_])) {
            ++at_;
        } else {
            while (!at_end() && is_name(peek())) at_ += peek().size();
        }
        return std::string(text_.substr(begin, at_ - begin));
    }

    std::string dollar() {
        ++at_;
        if (stands_on('{')) return braces();
        const std::string which = name();
        if (which.empty()) return "$";
        const std::string* value = look_up(which);
        if (!value) return rules_.keep_unset ? "$" + which : std::string();
        return *value;
    }

    [[noreturn]] static void missing_brace() { fail(ErrorKind::invalid_argument, "syntax error: missing '}}'"); }

    std::string braces() {
        ++at_;
        if (at_end()) missing_brace();
        if (stands_on('{') || stands_on('}') || stands_on(':')) fail(ErrorKind::invalid_argument, "syntax error: bad substitution");
        const std::string which = name();
        if (at_end()) missing_brace();
        std::string_view modifier = next();
        if (modifier == "}") {
            const std::string* value = look_up(which);
            if (!value) return rules_.keep_unset ? "${" + which + "}" : std::string();
            return *value;
        }
        if (modifier == "/") return replace(which);
        if (modifier == ":") {
            if (at_end()) missing_brace();
            modifier = next();
            if (modifier == "#" || modifier == "%") unsupported(":", modifier);
            return modified(which, modifier, ":");
        }
        if (std::string_view("+-?#%").find(modifier) == std::string_view::npos) unsupported("", modifier);
        return modified(which, modifier, "");
    }

    [[noreturn]] static void unsupported(std::string_view colon, std::string_view modifier) {
        fail(ErrorKind::invalid_argument, "unsupported modifier ({}{}) in substitution", colon, to_valid_utf8(modifier));
    }

    /// The word of a modifier; an end of the text in it is a brace that is missing.
    std::string word_until(char stop, bool keep_escapes, std::string_view complaint) {
        const int depth = depth_;
        try {
            return until(stop, keep_escapes, nullptr);
        } catch (const Error&) {
            if (at_end() && depth < substitution_depth_limit) fail(ErrorKind::invalid_argument, "syntax error: missing {}", complaint);
            throw;
        }
    }

    std::string modified(const std::string& which, std::string_view modifier, std::string_view colon) {
        const char kind = modifier.size() == 1 ? modifier.front() : '\0';
        std::string word = word_until('}', kind == '#' || kind == '%', "'}'");
        const std::string* value = look_up(which);
        if (!value && rules_.keep_unset) return fmt::format("${{{}{}{}{}}}", which, colon, modifier, word);
        const bool counts = value && !(value->empty() && !colon.empty());
        switch (kind) {
            case '-':
                return counts ? *value : word;
            case '+':
                return counts ? word : std::string();
            case '?':
                if (counts) return *value;
                if (word.empty()) word = value ? "is not allowed to be empty" : "is not allowed to be unset";
                fail(ErrorKind::invalid_argument, "{}: {}", which, shortened(word));
            case '#':
            case '%':
                return cut(value ? *value : std::string(), word, kind);
            default:
                unsupported(colon, modifier);
        }
    }

    std::string cut(const std::string& value, std::string_view pattern, char kind) {
        Length length = Length::shortest;
        if (pattern.starts_with(kind)) {
            length = Length::longest;
            pattern.remove_prefix(1);
        }
        check_pattern(pattern, value);
        return kind == '#' ? without_prefix(value, pattern, length) : without_suffix(value, pattern, length);
    }

    void check_pattern(std::string_view pattern, std::string_view value) {
        if (pattern.size() > substitution_pattern_limit) {
            fail(ErrorKind::invalid_argument, "invalid pattern ({}) in substitution: longer than {} bytes", shortened(pattern),
                 substitution_pattern_limit);
        }
        charge(pattern_cost + pattern.size() * 16 + value.size());
    }

    std::string replace(const std::string& which) {
        const bool all = stands_on('/');
        if (all) ++at_;
        const std::string pattern = word_until('/', true, "'/' in ${}");
        const std::string replacement = word_until('}', true, "'}'");
        const std::string* value = look_up(which);
        if (!value && rules_.keep_unset) return fmt::format("${{{}/{}/{}}}", which, pattern, replacement);
        const std::string text = value ? *value : std::string();
        check_pattern(pattern, text);
        std::string out = with_replaced(text, pattern, replacement, all ? Matches::all : Matches::first);
        charge(out.size());
        return out;
    }

    const ExpansionRules& rules_;
    std::string_view text_;
    const Environment& environment_;
    std::size_t& spent_;
    std::size_t at_ = 0;
    int depth_ = 0;
    bool keep_escapes_;
    Names used_;
    Names missing_;
};

}  // namespace

Expanded Expander::expand(std::string_view text, const Environment& environment, std::vector<std::string>* missing) {
    Reading reading{rules_, text, environment, spent_};
    try {
        Expanded out = reading.run();
        if (missing) *missing = out.missing;
        return out;
    } catch (const Error& error) {
        if (missing) *missing = reading.missing();
        fail(error.kind(), "failed to process {}: {}", in_quotes(text), error.what());
    }
}

}  // namespace grua::build::dockerfile
