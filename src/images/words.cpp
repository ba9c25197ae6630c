#include "images/words.hpp"

#include "base/error.hpp"

namespace grua::images {
namespace {

constexpr std::size_t word_limit = std::size_t{1} << 20U;
constexpr int depth_limit = 16;

bool is_blank(char c) { return c == ' ' || c == '\t'; }
bool is_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

class Expansion {
public:
    Expansion(std::string_view word, const Variable& variable, int depth) : rest_(word), variable_(variable), depth_(depth) {
        if (depth > depth_limit) fail(ErrorKind::invalid_argument, "variables are nested too deeply");
    }

    std::string run() {
        while (!rest_.empty()) {
            const char c = take();
            if (c == '\'') {
                add(until('\''));
            } else if (c == '"') {
                double_quoted();
            } else if (c == '$') {
                dollar();
            } else if (c == '\\' && !rest_.empty()) {
                add(std::string(1, take()));
            } else if (c != '\\') {
                add(std::string(1, c));
            }
        }
        return std::move(out_);
    }

private:
    char take() {
        const char c = rest_.front();
        rest_.remove_prefix(1);
        return c;
    }

    void add(std::string_view text) {
        if (out_.size() + text.size() > word_limit) fail(ErrorKind::invalid_argument, "a word is longer than {} bytes", word_limit);
        out_ += text;
    }

    std::string_view until(char end) {
        const std::size_t at = rest_.find(end);
        if (at == std::string_view::npos)
            fail(ErrorKind::invalid_argument, "unexpected end of statement while looking for matching {}", end);
        const std::string_view text = rest_.substr(0, at);
        rest_.remove_prefix(at + 1);
        return text;
    }

    void double_quoted() {
        for (;;) {
            if (rest_.empty()) {
                fail(ErrorKind::invalid_argument, "unexpected end of statement while looking for matching double-quote");
            }
            const char c = take();
            if (c == '"') return;
            if (c == '$') {
                dollar();
            } else if (c == '\\' && !rest_.empty() && (rest_.front() == '"' || rest_.front() == '$' || rest_.front() == '\\')) {
                add(std::string(1, take()));
            } else {
                add(std::string(1, c));
            }
        }
    }

    std::string name() {
        std::size_t length = 0;
        while (length < rest_.size() && is_name(rest_[length])) ++length;
        const std::string text{rest_.substr(0, length)};
        rest_.remove_prefix(length);
        return text;
    }

    /// Up to the brace that belongs to the one before.
    std::string_view braced() {
        std::size_t open = 1;
        for (std::size_t at = 0; at < rest_.size(); ++at) {
            if (rest_[at] == '\\') {
                ++at;
            } else if (rest_[at] == '{') {
                ++open;
            } else if (rest_[at] == '}' && --open == 0) {
                const std::string_view text = rest_.substr(0, at);
                rest_.remove_prefix(at + 1);
                return text;
            }
        }
        fail(ErrorKind::invalid_argument, "syntax error: missing '}}'");
    }

    void dollar() {
        if (!rest_.starts_with('{')) {
            const std::string variable = name();
            return add(variable.empty() ? "$" : variable_(variable));
        }
        take();
        const std::string variable = name();
        if (variable.empty()) fail(ErrorKind::invalid_argument, "syntax error: bad substitution");
        const std::string_view rest = braced();
        const std::string value = variable_(variable);
        if (rest.empty()) return add(value);
        const std::string_view sign = rest.substr(0, 2);
        const auto other = [&] { return Expansion{rest.substr(2), variable_, depth_ + 1}.run(); };
        if (sign == ":-") return add(value.empty() ? other() : value);
        if (sign == ":+") return add(value.empty() ? "" : other());
        fail(ErrorKind::invalid_argument, "unsupported modifier ({}) in substitution", sign);
    }

    std::string_view rest_;
    const Variable& variable_;
    int depth_;
    std::string out_;
};

}  // namespace

std::vector<std::string> split_words(std::string_view line) {
    std::vector<std::string> out;
    std::string word;
    char quote = '\0';
    for (std::size_t at = 0; at < line.size(); ++at) {
        const char c = line[at];
        if (quote == '\0' && is_blank(c)) {
            if (!word.empty()) out.push_back(std::move(word));
            word.clear();
            continue;
        }
        word += c;
        if (c == '\\' && quote != '\'' && at + 1 < line.size()) {
            word += line[++at];
        } else if (quote == '\0' && (c == '"' || c == '\'')) {
            quote = c;
        } else if (c == quote) {
            quote = '\0';
        }
    }
    if (quote != '\0') fail(ErrorKind::invalid_argument, "unexpected end of statement while looking for matching {}", quote);
    if (!word.empty()) out.push_back(std::move(word));
    return out;
}

std::string expand_word(std::string_view word, const Variable& variable) { return Expansion{word, variable, 0}.run(); }

}  // namespace grua::images
