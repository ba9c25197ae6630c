// Wire types written as JSON text at once, without a document in between; what base/codec.hpp's dump() gives, in a fraction of the
// time. For answers that are long or asked for often.
#pragma once

#include "base/codec.hpp"

#include <array>
#include <charconv>
#include <string>
#include <string_view>

namespace grua::json {

inline void append_string(std::string& out, std::string_view text) {
    constexpr std::string_view digits = "0123456789abcdef";
    out += '"';
    std::size_t plain = 0;
    for (std::size_t at = 0; at < text.size(); ++at) {
        const char c = text[at];
        if (static_cast<unsigned char>(c) >= 0x20 && c != '"' && c != '\\') continue;
        out.append(text, plain, at - plain);
        plain = at + 1;
        const std::size_t named = std::string_view("\"\\\b\f\n\r\t").find(c);
        out += '\\';
        if (named != std::string_view::npos) {
            out += "\"\\bfnrt"[named];
        } else {
            out += "u00";
            out += digits[static_cast<unsigned char>(c) >> 4U];
            out += digits[static_cast<unsigned char>(c) & 15U];
        }
    }
    out.append(text, plain);
    out += '"';
}

template <typename T>
void append(std::string& out, const T& in, Version version);

/// `at_member(name)` is called before each top-level member's value is written.
template <WireStruct T, typename AtMember>
void append_struct(std::string& out, const T& in, Version version, const AtMember& at_member) {
    out += '{';
    bool first = true;
    std::apply(
        [&](const auto&... each) {
            const auto append_one = [&](const auto& one) {
                if (version < one.since) return;
                const auto& member = in.*one.member;
                if (one.omit_empty && member == std::remove_cvref_t<decltype(member)>{}) return;
                if (!first) out += ',';
                first = false;
                append_string(out, one.name);
                out += ':';
                at_member(std::string_view(one.name));
                append(out, member, version);
            };
            (append_one(each), ...);
        },
        T::fields());
    out += '}';
}

template <typename T>
void append(std::string& out, const T& in, Version version) {
    if constexpr (WireStruct<T>) {
        append_struct(out, in, version, [](std::string_view) {});
    } else if constexpr (detail::is_optional<T>::value) {
        if (in) {
            append(out, *in, version);
        } else {
            out += "null";
        }
    } else if constexpr (detail::is_list<T>::value) {
        out += '[';
        bool first = true;
        for (const auto& each : in) {
            if (!first) out += ',';
            first = false;
            append(out, each, version);
        }
        out += ']';
    } else if constexpr (detail::is_map<T>::value) {
        out += '{';
        bool first = true;
        for (const auto& [key, each] : in) {
            if (!first) out += ',';
            first = false;
            append_string(out, key);
            out += ':';
            append(out, each, version);
        }
        out += '}';
    } else if constexpr (std::same_as<T, bool>) {
        out += in ? "true" : "false";
    } else if constexpr (std::integral<T>) {
        std::array<char, 24> digits{};
        const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), in);
        out.append(digits.data(), end);
    } else if constexpr (TextCoded<T>) {
        append_string(out, Text<T>::write(in));
    } else if constexpr (std::convertible_to<const T&, std::string_view>) {
        append_string(out, in);
    } else {
        out += boost::json::serialize(Value(in));
    }
}

template <typename T>
std::string text_of(const T& in, Version version) {
    std::string out;
    append(out, in, version);
    return out;
}

}  // namespace grua::json
