#include "base/encoding.hpp"

#include <algorithm>
#include <cstdint>

namespace grua {

namespace {

constexpr std::string_view standard = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view for_urls = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

std::string encode(std::string_view bytes, std::string_view alphabet) {
    std::string out;
    out.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
        std::uint32_t group = 0;
        for (std::size_t k = 0; k < 3; ++k) group = group << 8U | (k < count ? static_cast<unsigned char>(bytes[i + k]) : 0U);
        for (std::size_t k = 0; k < 4; ++k) out += k <= count ? alphabet[group >> (18 - 6 * k) & 63U] : '=';
    }
    return out;
}

}  // namespace

std::string base64_encode(std::string_view bytes) { return encode(bytes, standard); }

std::string base64url_encode(std::string_view bytes) { return encode(bytes, for_urls); }

std::optional<std::string> base64_decode(std::string_view text) {
    std::string out;
    std::uint32_t group = 0;
    std::size_t digits = 0;
    std::size_t padding = 0;
    for (const char c : text) {
        if (c == '\n' || c == '\r') continue;
        const std::size_t value = standard.find(c);
        if (c == '=')
            ++padding;
        else if (value == std::string_view::npos || padding > 0)
            return std::nullopt;
        group = group << 6U | (c == '=' ? 0U : static_cast<std::uint32_t>(value));
        if (++digits % 4 != 0) continue;
        if (padding > 2) return std::nullopt;
        for (std::size_t k = 0; k < 3 - padding; ++k) out += static_cast<char>(group >> (16 - 8 * k) & 0xffU);
        group = 0;
    }
    return digits % 4 == 0 ? std::optional(out) : std::nullopt;
}

std::optional<std::string> base64_decode_any(std::string_view text) {
    while (text.ends_with('=')) text.remove_suffix(1);
    std::string plain{text};
    std::ranges::replace(plain, '-', '+');
    std::ranges::replace(plain, '_', '/');
    plain.append((4 - plain.size() % 4) % 4, '=');
    return base64_decode(plain);
}

std::string percent_encode(std::string_view text) {
    constexpr std::string_view safe = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~";
    constexpr std::string_view digits = "0123456789ABCDEF";
    std::string out;
    for (const char c : text) {
        if (safe.find(c) != std::string_view::npos) {
            out += c;
        } else {
            const auto byte = static_cast<unsigned char>(c);
            out += '%';
            out += digits[byte >> 4U];
            out += digits[byte & 15U];
        }
    }
    return out;
}

}  // namespace grua
