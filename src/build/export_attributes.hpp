// Words and their values, taken one after the other: what is left in the end nobody knows.
#pragma once

#include "base/error.hpp"
#include "base/options.hpp"
#include "base/text.hpp"
#include "base/utf8.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace grua::build {

class Attributes {
public:
    enum class Empty : std::uint8_t { is_true, is_wrong };

    explicit Attributes(std::map<std::string, std::string> words) : words_(std::move(words)) {}

    /// As they are now; a copy, so that they can be taken meanwhile.
    std::map<std::string, std::string> all() const { return words_; }
    bool has(std::string_view name) const { return words_.contains(std::string(name)); }

    std::optional<std::string> take(std::string_view name) {
        const auto found = words_.find(std::string(name));
        if (found == words_.end()) return std::nullopt;
        std::string out = std::move(found->second);
        words_.erase(found);
        return out;
    }

    std::optional<bool> take_bool(std::string_view name, Empty empty) {
        const auto text = take(name);
        if (!text) return std::nullopt;
        if (text->empty() && empty == Empty::is_true) return true;
        const auto value = parse_bool(*text);
        if (!value) fail(ErrorKind::invalid_argument, "non-bool value specified for {}: {:?}", name, to_valid_utf8(*text));
        return value;
    }

    std::optional<std::int64_t> take_integer(std::string_view name) {
        const auto text = take(name);
        if (!text) return std::nullopt;
        const auto value = parse_int(*text);
        if (!value) fail(ErrorKind::invalid_argument, "non-integer value specified for {}: {:?}", name, to_valid_utf8(*text));
        return value;
    }

    void refuse_if_on(std::string_view name, Empty empty) {
        if (take_bool(name, empty).value_or(false)) fail(ErrorKind::not_implemented, "not implemented: {}", name);
    }

    void refuse_rest() const {
        if (!words_.empty()) fail(ErrorKind::invalid_argument, "unknown attribute {:?}", to_valid_utf8(words_.begin()->first));
    }

private:
    std::map<std::string, std::string> words_;
};

}  // namespace grua::build
