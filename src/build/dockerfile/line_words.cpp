#include "build/dockerfile/line_words.hpp"

#include "base/utf8.hpp"

#include <algorithm>
#include <boost/json.hpp>

namespace grua::build::dockerfile::detail {
namespace {

constexpr std::string_view blanks = "\t\v\f\r ";
constexpr int json_depth_limit = 64;

bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/// Cuts a line into words: quotes, which end a word's end, and the escape character.
class WordCutter {
public:
    WordCutter(std::string_view text, char escape) : text_(text), escape_(escape) {}

    std::vector<std::string> run() {
        while (at_ < text_.size()) {
            const std::size_t space = space_length(text_.substr(at_));
            if (quote_ == '\0' && space > 0) {
                end_word();
                at_ += space;
            } else {
                take();
            }
        }
        end_word();
        return std::move(words_);
    }

private:
    void end_word() {
        if (!word_.empty()) words_.push_back(std::move(word_));
        word_.clear();
    }

    void take() {
        const char c = text_[at_++];
        if (c == escape_ && quote_ != '\'') {
            if (at_ == text_.size()) return;  // Nothing is left to escape.
            word_ += c;
            const std::size_t length = std::max<std::size_t>(1, utf8_length(text_.substr(at_)));
            word_ += text_.substr(at_, length);
            at_ += length;
            return;
        }
        if (quote_ == '\0' && (c == '\'' || c == '"')) {
            quote_ = c;
        } else if (c == quote_) {
            quote_ = '\0';
        }
        word_ += c;
    }

    std::string_view text_;
    char escape_;
    std::size_t at_ = 0;
    char quote_ = '\0';
    std::string word_;
    std::vector<std::string> words_;
};

/// One flag from `at`, which is moved behind it. An empty quoted word is none.
std::string flag_word(std::string_view text, std::size_t& at, char escape) {
    std::string out;
    char quote = '\0';
    for (; at < text.size(); ++at) {
        char c = text[at];
        if (quote == '\0' && is_blank(c)) break;
        if (quote == '\0' && (c == '\'' || c == '"')) {
            quote = c;
            continue;
        }
        if (c == quote) {
            quote = '\0';
            continue;
        }
        if (c == escape) {
            if (at + 1 == text.size()) continue;
            c = text[++at];
        }
        out += c;
    }
    return out;
}

}  // namespace

std::vector<std::string_view> split_once(std::string_view text) {
    const std::size_t end = text.find_first_of(blanks);
    if (end == std::string_view::npos) return {text};
    const std::size_t next = text.find_first_not_of(blanks, end);
    return {text.substr(0, end), next == std::string_view::npos ? std::string_view{} : text.substr(next)};
}

std::vector<std::string> fields(std::string_view text) {
    std::vector<std::string> out;
    while (!text.empty()) {
        const std::vector<std::string_view> parts = split_once(text);
        out.emplace_back(parts[0]);
        text = parts.size() > 1 ? parts[1] : std::string_view{};
    }
    return out;
}

std::vector<std::string> words(std::string_view text, char escape) { return WordCutter{text, escape}.run(); }

std::vector<std::string> take_flags(std::string_view& text, char escape) {
    std::vector<std::string> out;
    std::size_t at = 0;
    while (true) {
        while (at < text.size() && is_blank(text[at])) ++at;
        if (!text.substr(at).starts_with("--")) break;
        std::string word = flag_word(text, at, escape);
        if (word == "--") break;
        out.push_back(std::move(word));
    }
    text.remove_prefix(at);
    return out;
}

std::vector<KeyValue> pairs(std::string_view text, std::string_view keyword, char escape) {
    std::vector<KeyValue> out;
    const std::vector<std::string> parts = words(text, escape);
    if (parts.empty()) return out;
    if (!parts.front().contains('=')) {
        const std::vector<std::string_view> halves = split_once(text);
        if (halves.size() < 2) fail(ErrorKind::invalid_argument, "{} must have two arguments", keyword);
        out.push_back({std::string(halves[0]), std::string(halves[1]), true});
        return out;
    }
    for (const std::string& part : parts) {
        const std::size_t sign = part.find('=');
        if (sign == std::string::npos) {
            fail(ErrorKind::invalid_argument, "Syntax error - can't find = in {}. Must be of the form: name=value", in_quotes(part));
        }
        out.push_back({part.substr(0, sign), part.substr(sign + 1), false});
    }
    return out;
}

bool read_json(std::string_view text, std::vector<std::string>& out) {
    text = trim_left(text);
    if (!text.starts_with('[')) return false;
    const auto refuse = [] { fail(ErrorKind::invalid_argument, "when using JSON array syntax, arrays must be comprised of strings only"); };
    boost::system::error_code failed;
    boost::json::parse_options options;
    options.max_depth = json_depth_limit;
    options.allow_invalid_utf8 = true;
    const boost::json::value document = boost::json::parse(text, failed, {}, options);
    if (failed == boost::json::error::too_deep) refuse();
    if (failed) return false;
    std::vector<std::string> strings;
    for (const boost::json::value& member : document.as_array()) {
        if (!member.is_string()) refuse();
        strings.push_back(to_valid_utf8(member.get_string()));
    }
    out = std::move(strings);
    return true;
}

}  // namespace grua::build::dockerfile::detail
