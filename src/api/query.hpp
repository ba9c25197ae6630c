// The query of a request's target, decoded, and the readings that Docker gives its values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::api {

/// More parameters than this in one target are refused.
inline constexpr std::size_t query_limit = 1000;

/// "%2F" and "+" (where `plus_is_space`) decoded; an incomplete escape is an invalid_argument.
std::string percent_decode(std::string_view text, bool plus_is_space);

class Query {
public:
    Query() = default;
    /// `text` is what stands behind the '?'.
    static Query parse(std::string_view text);

    /// What the operation reads (api/names.hpp). From here on nothing else can be asked for, and what is newer than the client's version
    /// of the API is not there.
    void declare(std::string_view names, int minor_number);

    bool has(std::string_view name) const;
    /// The first value, empty where there is none.
    std::string_view get(std::string_view name) const;
    std::vector<std::string> all(std::string_view name) const;

    /// Docker's truth: everything but "", 0, no, false and none.
    bool flag(std::string_view name) const;
    bool flag(std::string_view name, bool if_missing) const;

    /// A whole decimal number, nothing where it is missing or empty; invalid_argument for other text.
    std::optional<std::int64_t> number(std::string_view name) const;

    /// What was sent and nobody has asked for.
    std::vector<std::string_view> unread() const;

private:
    struct Value {
        std::string name;
        std::string text;
        mutable bool is_read = false;
    };

    /// The value at or behind `from`. Throws Error(system) for a name that was not declared.
    const Value* find(std::string_view name, std::size_t from = 0) const;

    std::vector<Value> values_;
    std::optional<std::string_view> declared_;
};

}  // namespace grua::api
