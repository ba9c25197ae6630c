#include "build/filter.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "base/utf8.hpp"

#include <re2/re2.h>
#include <algorithm>
#include <array>
#include <charconv>

namespace grua::build {
namespace {

constexpr std::int64_t pattern_memory_limit = std::int64_t{256} << 10U;

enum class Operator { present, equal, not_equal, matches };

bool is_field_character(char c) noexcept { return c == '_' || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_space(char c) noexcept { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_quote(char c) noexcept { return c == '"' || c == '/' || c == '|'; }

void append_utf8(std::string& to, std::uint32_t point) {
    const auto put = [&](std::uint32_t byte) { to.push_back(static_cast<char>(byte)); };
    if (point < 0x80) {
        put(point);
    } else if (point < 0x800) {
        put(0xc0U | (point >> 6U));
        put(0x80U | (point & 0x3fU));
    } else if (point < 0x10000) {
        put(0xe0U | (point >> 12U));
        put(0x80U | ((point >> 6U) & 0x3fU));
        put(0x80U | (point & 0x3fU));
    } else {
        put(0xf0U | (point >> 18U));
        put(0x80U | ((point >> 12U) & 0x3fU));
        put(0x80U | ((point >> 6U) & 0x3fU));
        put(0x80U | (point & 0x3fU));
    }
}

}  // namespace

struct Filter::Selector {
    std::string path;
    Operator comparison = Operator::present;
    std::string value;
    std::unique_ptr<const re2::RE2> pattern;
};

namespace {

class Parser {
public:
    explicit Parser(std::string_view text) : text_(text) {}

    std::vector<std::shared_ptr<const Filter::Selector>> parse() {
        std::vector<std::shared_ptr<const Filter::Selector>> out;
        for (;;) {
            out.push_back(selector());
            skip_space();
            if (at_end()) return out;
            if (text_[at_] != ',') refuse("a comma is expected");
            ++at_;
        }
    }

private:
    [[noreturn]] void refuse(std::string_view why) const {
        const std::string_view before = text_.substr(0, at_);
        if (at_end()) fail(ErrorKind::invalid_argument, "filter {}: {} at its end", printable(text_), why);
        fail(ErrorKind::invalid_argument, "filter {}: {} behind '{}'", printable(text_), why, printable(before));
    }
    bool at_end() const noexcept { return at_ >= text_.size(); }
    void skip_space() noexcept {
        while (!at_end() && is_space(text_[at_])) ++at_;
    }

    std::shared_ptr<const Filter::Selector> selector() {
        auto out = std::make_shared<Filter::Selector>();
        out->path = field();
        for (skip_space(); !at_end() && text_[at_] == '.'; skip_space()) {
            ++at_;
            out->path += "." + field();
        }
        if (at_end() || text_[at_] == ',') return out;
        out->comparison = comparison();
        out->value = value(out->comparison == Operator::matches);
        if (out->comparison == Operator::matches) out->pattern = compile(out->value);
        return out;
    }

    std::string field() {
        skip_space();
        if (!at_end() && text_[at_] == '"') return quoted();
        const std::size_t begin = at_;
        while (!at_end() && is_field_character(text_[at_])) ++at_;
        if (at_ == begin) refuse("the name of a field is expected");
        return std::string(text_.substr(begin, at_ - begin));
    }

    Operator comparison() {
        static constexpr std::array known{std::pair{"==", Operator::equal}, std::pair{"!=", Operator::not_equal},
                                          std::pair{"~=", Operator::matches}};
        for (const auto& [sign, comparison] : known) {
            if (!text_.substr(at_).starts_with(sign)) continue;
            at_ += 2;
            return comparison;
        }
        refuse("==, != or ~= is expected");
    }

    std::string value(bool may_have_slashes) {
        skip_space();
        if (at_end()) refuse("a value is expected");
        if (is_quote(text_[at_])) {
            if (text_[at_] != '"' && !may_have_slashes) refuse("quotes are \"\"");
            return quoted();
        }
        const std::size_t begin = at_;
        // The first character is none of an operator or a separator.
        if (std::string_view("=!~.").contains(text_[at_])) refuse("a value is expected");
        while (!at_end() && text_[at_] != ',' && !is_space(text_[at_])) {
            if (static_cast<unsigned char>(text_[at_]) < 0x20 || text_[at_] == 0x7f) refuse("a control character");
            ++at_;
        }
        if (at_ == begin) refuse("a value is expected");
        return std::string(text_.substr(begin, at_ - begin));
    }

    std::string quoted() {
        const char quote = text_[at_++];
        std::string out;
        while (!at_end() && text_[at_] != quote) {
            const char c = text_[at_];
            if (c == '\n') break;
            ++at_;
            if (c != '\\')
                out.push_back(c);
            else
                escape(quote, out);
        }
        if (at_end() || text_[at_] != quote) refuse("the closing quote is missing");
        ++at_;
        return out;
    }

    void escape(char quote, std::string& out) {
        if (at_end()) refuse("the closing quote is missing");
        static constexpr std::string_view letters = "abfnrtv\\";
        static constexpr std::string_view meant = "\a\b\f\n\r\t\v\\";
        const char c = text_[at_];
        if (const std::size_t known = letters.find(c); known != std::string_view::npos) {
            ++at_;
            out.push_back(meant[known]);
        } else if (c == quote) {
            ++at_;
            out.push_back(c);
        } else if (c >= '0' && c <= '7') {
            const std::uint32_t byte = number(3, 8);
            if (byte > 0xff) refuse("an escape that is no byte");
            out.push_back(static_cast<char>(byte));
        } else if (c == 'x') {
            ++at_;
            out.push_back(static_cast<char>(number(2, 16)));
        } else if (c == 'u' || c == 'U') {
            ++at_;
            const std::uint32_t point = number(c == 'u' ? 4 : 8, 16);
            if (point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) refuse("an escape that is no character");
            append_utf8(out, point);
        } else {
            refuse("an escape that is unknown");
        }
    }

    std::uint32_t number(std::size_t digits, int base) {
        const std::string_view text = text_.substr(at_, digits);
        std::uint32_t out = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, base);
        if (text.size() != digits || error != std::errc() || end != text.data() + text.size()) refuse("an escape that is no number");
        at_ += digits;
        return out;
    }

    std::unique_ptr<const re2::RE2> compile(const std::string& pattern) const {
        re2::RE2::Options options;
        options.set_log_errors(false);
        options.set_max_mem(pattern_memory_limit);
        auto out = std::make_unique<const re2::RE2>(pattern, options);
        if (!out->ok()) fail(ErrorKind::invalid_argument, "filter {}: {}", printable(text_), printable(out->error()));
        return out;
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

bool is_so(const Filter::Selector& selector, const Filter::Fields& fields) {
    const std::optional<std::string> found = fields(selector.path);
    switch (selector.comparison) {
        case Operator::present:
            return found.has_value();
        case Operator::equal:
            return found && *found == selector.value;
        case Operator::not_equal:
            return found.value_or("") != selector.value;
        case Operator::matches:
            return re2::RE2::PartialMatch(found.value_or(""), *selector.pattern);
    }
    return false;
}

}  // namespace

Filter Filter::parse(const std::vector<std::string>& texts) {
    if (texts.size() > filter_limit) fail(ErrorKind::invalid_argument, "filter: more than {} of them", filter_limit);
    Filter out;
    for (const std::string& each : texts) {
        if (each.size() > filter_size_limit) fail(ErrorKind::invalid_argument, "filter: longer than {} bytes", filter_size_limit);
        if (!is_valid_utf8(each)) fail(ErrorKind::invalid_argument, "filter: it is no UTF-8");
        out.any_.push_back(each.empty() ? All{} : Parser(each).parse());
    }
    return out;
}

bool Filter::matches(const Fields& fields) const {
    if (any_.empty()) return true;
    return std::ranges::any_of(
        any_, [&](const All& all) { return std::ranges::all_of(all, [&](const auto& selector) { return is_so(*selector, fields); }); });
}

std::vector<std::string> split_csv(std::string_view line) {
    const auto refuse = [&](std::string_view why) { fail(ErrorKind::invalid_argument, "{}: {}", printable(line), why); };
    while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
    std::vector<std::string> out;
    std::size_t at = 0;
    for (;;) {
        std::string field;
        if (at < line.size() && line[at] == '"') {
            for (++at;; ++at) {
                if (at >= line.size()) refuse("the closing quote is missing");
                if (line[at] == '"') {
                    if (!line.substr(at + 1).starts_with('"')) break;
                    ++at;
                }
                field.push_back(line[at]);
            }
            ++at;
            if (at < line.size() && line[at] != ',') refuse("a comma is expected behind the quote");
        } else {
            const std::size_t end = std::min(line.find(',', at), line.size());
            field = line.substr(at, end - at);
            if (field.contains('"')) refuse("a quote in the middle");
            at = end;
        }
        out.push_back(std::move(field));
        if (at >= line.size()) return out;
        ++at;
    }
}

}  // namespace grua::build
