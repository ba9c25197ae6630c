#include "registry/challenge.hpp"

#include "base/text.hpp"

#include <algorithm>

namespace grua::registry {
namespace {

constexpr std::size_t header_limit = 8192;
constexpr std::size_t challenge_limit = 16;
constexpr std::size_t parameter_limit = 32;
constexpr std::string_view token68_characters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~+/";

bool is_token_char(char c) noexcept {
    const bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return alnum || std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

/// Walks over a header; each function takes what it names off the front.
class Scanner {
public:
    explicit Scanner(std::string_view text) : rest_(text) {}

    bool at_end() const noexcept { return rest_.empty(); }
    char front() const noexcept { return rest_.empty() ? '\0' : rest_.front(); }

    void blanks() {
        while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\t')) rest_.remove_prefix(1);
    }
    bool take(char c) {
        if (front() != c || rest_.empty()) return false;
        rest_.remove_prefix(1);
        return true;
    }
    std::string_view token() {
        const auto end = std::ranges::find_if_not(rest_, is_token_char);
        const std::string_view out = rest_.substr(0, static_cast<std::size_t>(end - rest_.begin()));
        rest_.remove_prefix(out.size());
        return out;
    }
    std::string_view until(char c) {
        const std::string_view out = rest_.substr(0, rest_.find(c));
        rest_.remove_prefix(out.size());
        return out;
    }
    /// After its opening quote; nothing where it does not end.
    std::optional<std::string> quoted() {
        std::string out;
        while (!rest_.empty()) {
            char c = rest_.front();
            rest_.remove_prefix(1);
            if (c == '"') return out;
            if (c == '\\') {
                if (rest_.empty()) return std::nullopt;
                c = rest_.front();
                rest_.remove_prefix(1);
            }
            // A value becomes part of a request.
            if (static_cast<unsigned char>(c) < ' ' && c != '\t') return std::nullopt;
            out += c;
        }
        return std::nullopt;
    }
    /// What a scheme may have instead of parameters: one word, with `=` at its end only ("Negotiate YIIB…=="). Nothing is taken where
    /// it is not followed by the end or a comma.
    void token68() {
        const Scanner before = *this;
        blanks();
        rest_.remove_prefix(std::min(rest_.find_first_not_of(token68_characters), rest_.size()));
        while (take('=')) continue;
        blanks();
        if (!at_end() && front() != ',') *this = before;
    }
    /// `=` and a token or a quoted text.
    std::optional<std::string> value() {
        blanks();
        if (!take('=')) return std::nullopt;
        blanks();
        if (take('"')) return quoted();
        const std::string_view plain = token();
        if (plain.empty()) return std::nullopt;
        return std::string(plain);
    }

private:
    std::string_view rest_;
};

}  // namespace

std::string_view Challenge::parameter(const std::string& name) const {
    const auto found = parameters.find(name);
    return found == parameters.end() ? std::string_view{} : std::string_view(found->second);
}

namespace {

void parse_field(std::string_view field, std::vector<Challenge>& out) {
    if (field.size() > header_limit) return;
    Scanner scan{field};
    const std::size_t before = out.size();
    while (!scan.at_end() && out.size() < challenge_limit) {
        scan.blanks();
        if (scan.take(',')) continue;
        const std::string_view word = scan.token();
        if (word.empty()) break;
        const Scanner after_word = scan;
        // `name=value` belongs to the challenge before it, any other word begins one.
        if (const auto value = scan.value(); value && out.size() > before) {
            if (out.back().parameters.size() >= parameter_limit) break;
            out.back().parameters.emplace(to_lower(word), *value);
            scan.blanks();
            if (!scan.at_end() && scan.front() != ',') break;
            continue;
        }
        scan = after_word;
        if (!scan.at_end() && scan.front() != ' ' && scan.front() != '\t' && scan.front() != ',') break;
        out.push_back({to_lower(word), {}});
        scan.token68();
    }
}

}  // namespace

std::vector<Challenge> parse_challenges(std::string_view fields) {
    std::vector<Challenge> out;
    for (const std::string& field : split(fields, '\n')) parse_field(field, out);
    return out;
}

std::optional<std::string> next_link(std::string_view header) {
    if (header.size() > header_limit) return std::nullopt;
    Scanner scan{header};
    for (;;) {
        scan.blanks();
        if (scan.take(',')) continue;
        if (!scan.take('<')) return std::nullopt;
        std::string target{trim(scan.until('>'))};
        if (!scan.take('>')) return std::nullopt;
        bool next = false;
        for (scan.blanks(); scan.take(';'); scan.blanks()) {
            scan.blanks();
            const std::string name = to_lower(scan.token());
            const Scanner after_name = scan;
            const auto value = scan.value();
            if (!value) scan = after_name;
            if (name == "rel" && value) {
                const auto rels = split(to_lower(*value), ' ');
                next = std::ranges::find(rels, "next") != rels.end();
            }
        }
        if (next) return target.empty() ? std::nullopt : std::optional{std::move(target)};
        if (!scan.at_end() && scan.front() != ',') return std::nullopt;
    }
}

}  // namespace grua::registry
