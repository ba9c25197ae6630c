#include "base/utf8.hpp"

namespace grua {

std::size_t utf8_length(std::string_view text) noexcept {
    if (text.empty()) return 0;
    const auto continues = [&](std::size_t index, unsigned low = 0x80, unsigned high = 0xBF) {
        return index < text.size() && static_cast<unsigned char>(text[index]) >= low && static_cast<unsigned char>(text[index]) <= high;
    };
    const unsigned first = static_cast<unsigned char>(text.front());
    if (first < 0x80) return 1;
    if (first >= 0xC2 && first <= 0xDF) return continues(1) ? 2 : 0;
    if (first >= 0xE0 && first <= 0xEF) {
        const unsigned low = first == 0xE0 ? 0xA0 : 0x80;
        const unsigned high = first == 0xED ? 0x9F : 0xBF;
        return continues(1, low, high) && continues(2) ? 3 : 0;
    }
    if (first >= 0xF0 && first <= 0xF4) {
        const unsigned low = first == 0xF0 ? 0x90 : 0x80;
        const unsigned high = first == 0xF4 ? 0x8F : 0xBF;
        return continues(1, low, high) && continues(2) && continues(3) ? 4 : 0;
    }
    return 0;
}

bool is_valid_utf8(std::string_view text) noexcept {
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        if (length == 0) return false;
        text.remove_prefix(length);
    }
    return true;
}

std::string to_valid_utf8(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        out += length > 0 ? text.substr(0, length) : std::string_view{"\xEF\xBF\xBD"};
        text.remove_prefix(length > 0 ? length : 1);
    }
    return out;
}

std::string_view cut_utf8(std::string_view text, std::size_t limit) noexcept {
    constexpr std::size_t longest_character = 4;
    if (text.size() <= limit) return text;
    // The cut is inside a character where one begins shortly before it and reaches beyond it.
    for (std::size_t back = 1; back < longest_character && back <= limit; ++back) {
        if (utf8_length(text.substr(limit - back)) > back) return text.substr(0, limit - back);
    }
    return text.substr(0, limit);
}

}  // namespace grua
