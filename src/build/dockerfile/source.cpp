#include "build/dockerfile/source.hpp"

#include "base/utf8.hpp"

#include <algorithm>
#include <array>

namespace grua::build::dockerfile {
namespace {

constexpr std::size_t shown_limit = 512;

bool is_ascii_space(char c) noexcept { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Of more than one byte.
constexpr auto wide_spaces = std::to_array<std::string_view>({
    "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80", "\xE2\x80\x81", "\xE2\x80\x82", "\xE2\x80\x83",
    "\xE2\x80\x84", "\xE2\x80\x85", "\xE2\x80\x86", "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89", "\xE2\x80\x8A",
    "\xE2\x80\xA8", "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80",
});

std::string_view trim_right(std::string_view text) noexcept {
    while (!text.empty()) {
        if (is_ascii_space(text.back())) {
            text.remove_suffix(1);
            continue;
        }
        const auto found = std::ranges::find_if(wide_spaces, [&](std::string_view space) { return text.ends_with(space); });
        if (found == wide_spaces.end()) break;
        text.remove_suffix(found->size());
    }
    return text;
}

void append_escaped(std::string& out, std::string_view character) {
    const auto byte = static_cast<unsigned char>(character.front());
    switch (character.front()) {
        case '"':
        case '\\':
            out += '\\';
            out += character;
            return;
        case '\n':
            out += "\\n";
            return;
        case '\t':
            out += "\\t";
            return;
        case '\r':
            out += "\\r";
            return;
        case '\v':
            out += "\\v";
            return;
        case '\f':
            out += "\\f";
            return;
        default:
            break;
    }
    if (character.size() == 1 && (byte < 0x20 || byte >= 0x7F)) {
        out += fmt::format("\\x{:02x}", byte);
    } else {
        out += character;
    }
}

}  // namespace

std::size_t space_length(std::string_view text) noexcept {
    if (text.empty()) return 0;
    if (static_cast<unsigned char>(text.front()) < 0x80) return is_ascii_space(text.front()) ? 1 : 0;
    const auto found = std::ranges::find_if(wide_spaces, [&](std::string_view space) { return text.starts_with(space); });
    return found == wide_spaces.end() ? 0 : found->size();
}

std::string_view trim_left(std::string_view text) noexcept {
    for (std::size_t length = space_length(text); length > 0; length = space_length(text)) text.remove_prefix(length);
    return text;
}

std::string_view trim(std::string_view text) noexcept { return trim_right(trim_left(text)); }

std::string in_quotes(std::string_view text) {
    const std::string_view front = cut_utf8(text, shown_limit);
    std::string out = "\"";
    for (std::size_t at = 0; at < front.size();) {
        const std::size_t length = std::max<std::size_t>(1, utf8_length(front.substr(at)));
        append_escaped(out, front.substr(at, length));
        at += length;
    }
    if (front.size() < text.size()) out += "…";
    return out + "\"";
}

std::string shortened(std::string_view text) {
    const std::string_view front = cut_utf8(text, shown_limit);
    return to_valid_utf8(front) + (front.size() < text.size() ? "…" : "");
}

std::string to_upper(std::string_view text) {
    std::string out{text};
    std::ranges::transform(out, out.begin(), [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
    return out;
}

Truth parse_truth(std::string_view text) noexcept {
    for (const std::string_view yes : {"1", "t", "T", "true", "TRUE", "True"}) {
        if (text == yes) return Truth::yes;
    }
    for (const std::string_view no : {"0", "f", "F", "false", "FALSE", "False"}) {
        if (text == no) return Truth::no;
    }
    return Truth::unknown;
}

}  // namespace grua::build::dockerfile
