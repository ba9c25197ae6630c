#include "oci/digest.hpp"

#include "base/error.hpp"

#include <algorithm>

namespace grua::oci {
namespace {

bool is_hex(std::string_view text) noexcept {
    return std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace

std::optional<Digest> Digest::parse(std::string_view text) {
    constexpr std::size_t prefix = 7;
    const std::size_t wanted = text.starts_with("sha256:") ? 64 : text.starts_with("sha512:") ? 128 : 0;
    if (wanted == 0 || text.size() != prefix + wanted || !is_hex(text.substr(prefix))) return std::nullopt;
    return Digest{std::string(text)};
}

std::optional<Digest> Digest::parse_step(std::string_view text) {
    constexpr std::string_view prefix = "step:";
    if (!text.starts_with(prefix) || text.size() != prefix.size() + 64 || !is_hex(text.substr(prefix.size()))) return std::nullopt;
    return Digest{std::string(text)};
}

Digest Digest::from(std::string_view text) {
    std::optional<Digest> digest = parse(text);
    if (!digest) fail(ErrorKind::invalid_argument, "invalid digest \"{}\"", text.substr(0, 200));
    return std::move(*digest);
}

Digest Digest::of_hash(std::string_view raw) {
    constexpr std::size_t sha256_size = 32;
    constexpr std::size_t sha512_size = 64;
    if (raw.size() != sha256_size && raw.size() != sha512_size) fail(ErrorKind::invalid_argument, "a hash of {} bytes", raw.size());
    std::string text = raw.size() == sha256_size ? "sha256:" : "sha512:";
    constexpr std::string_view digits = "0123456789abcdef";
    for (const char c : raw) {
        const auto byte = static_cast<unsigned char>(c);
        text += digits[byte >> 4U];
        text += digits[byte & 15U];
    }
    return Digest{std::move(text)};
}

}  // namespace grua::oci
