#include "build/dockerfile/pattern.hpp"

#include "base/utf8.hpp"
#include "build/dockerfile/source.hpp"

#include <re2/re2.h>
#include <algorithm>
#include <vector>

namespace grua::build::dockerfile {
namespace {

constexpr std::size_t replaced_limit = std::size_t{16} << 20;

[[noreturn]] void invalid(std::string_view pattern, std::string_view why) {
    fail(ErrorKind::invalid_argument, "invalid pattern ({}) in substitution: {}", shortened(pattern), why);
}

/// The character at the front, a byte where there is none.
std::string_view character(std::string_view text) { return text.substr(0, std::max<std::size_t>(1, utf8_length(text))); }

std::string expression(std::string_view pattern, Length length) {
    std::string out;
    for (std::size_t at = 0; at < pattern.size();) {
        const std::string_view one = character(pattern.substr(at));
        at += one.size();
        if (one == "*") {
            out += length == Length::longest ? ".*" : ".*?";
        } else if (one == "?") {
            out += '.';
        } else if (one == "\\") {
            if (at >= pattern.size()) invalid(pattern, "invalid escape '\\'");
            const std::string_view next = character(pattern.substr(at));
            // A brace and a slash are escaped for the sake of ${…}, not of the pattern.
            if (next == "}" || next == "/") continue;
            if (next != "*" && next != "?" && next != "\\") invalid(pattern, fmt::format("invalid escape '\\{}'", next));
            out += '\\';
            out += next;
            at += next.size();
        } else {
            out += re2::RE2::QuoteMeta(re2::StringPiece(one.data(), one.size()));
        }
    }
    return out;
}

re2::RE2::Options options(std::string_view pattern, std::string_view value) {
    re2::RE2::Options out;
    out.set_log_errors(false);
    if (!is_valid_utf8(pattern) || !is_valid_utf8(value)) out.set_encoding(re2::RE2::Options::EncodingLatin1);
    return out;
}

std::string reversed(std::string_view text) {
    std::string out(text.size(), '\0');
    std::size_t end = text.size();
    for (std::size_t at = 0; at < text.size();) {
        const std::string_view one = character(text.substr(at));
        end -= one.size();
        std::ranges::copy(one, out.begin() + static_cast<std::ptrdiff_t>(end));
        at += one.size();
    }
    return out;
}

/// An escape stays before what it escapes.
std::string reversed_pattern(std::string_view pattern) {
    std::string out(pattern.size(), '\0');
    std::size_t end = pattern.size();
    for (std::size_t at = 0; at < pattern.size();) {
        std::size_t length = character(pattern.substr(at)).size();
        if (pattern[at] == '\\' && at + 1 < pattern.size()) length += character(pattern.substr(at + 1)).size();
        end -= length;
        std::ranges::copy(pattern.substr(at, length), out.begin() + static_cast<std::ptrdiff_t>(end));
        at += length;
    }
    return out;
}

}  // namespace

std::string without_prefix(std::string_view value, std::string_view pattern, Length length) {
    const re2::RE2 compiled{expression(pattern, length), options(pattern, value)};
    if (!compiled.ok()) invalid(pattern, compiled.error());
    re2::StringPiece match;
    const re2::StringPiece text(value.data(), value.size());
    if (!compiled.Match(text, 0, text.size(), re2::RE2::ANCHOR_START, &match, 1)) return std::string(value);
    return std::string(value.substr(match.size()));
}

// A regular expression finds the leftmost match, so that the shortest at the end is found from behind.
std::string without_suffix(std::string_view value, std::string_view pattern, Length length) {
    return reversed(without_prefix(reversed(value), reversed_pattern(pattern), length));
}

std::string with_replaced(std::string_view value, std::string_view pattern, std::string_view replacement, Matches which) {
    const re2::RE2 compiled{expression(pattern, Length::longest), options(pattern, value)};
    if (!compiled.ok()) invalid(pattern, compiled.error());
    const re2::StringPiece text(value.data(), value.size());
    std::string out;
    std::size_t copied = 0;
    std::size_t from = 0;
    bool after_match = false;  // An empty match does not follow another at its end.
    re2::StringPiece match;
    while (from <= value.size() && compiled.Match(text, from, text.size(), re2::RE2::UNANCHORED, &match, 1)) {
        const auto begin = static_cast<std::size_t>(match.data() - value.data());
        if (!match.empty() || !(after_match && begin == copied)) {
            out += value.substr(copied, begin - copied);
            out += replacement;
            if (out.size() > replaced_limit) fail(ErrorKind::invalid_argument, "what a substitution gives is too long");
            copied = begin + match.size();
            after_match = true;
            if (which == Matches::first) break;
        }
        from = match.empty() ? begin + (begin < value.size() ? character(value.substr(begin)).size() : 1) : copied;
    }
    return out.append(value.substr(copied));
}

}  // namespace grua::build::dockerfile
