// The filters= parameter: JSON, {"label": ["a=b"], …}, or as old clients send it, {"label": {"a=b": true}}.
#pragma once

#include "base/text.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::api {

/// More values than this in one parameter are refused.
inline constexpr std::size_t filter_limit = 1000;

/// What the expressions of one filter may take, their state machine included. Matching is linear in the text, whatever the expression.
inline constexpr std::int64_t pattern_memory_limit = std::int64_t{256} << 10U;

class Exchange;

/// Expressions of a client, compiled once (RE2; its syntax is that of Docker's Go).
class Patterns;

class Filters {
public:
    Filters() = default;
    /// `accepted` are names with spaces between. Throws Error(invalid_argument, "invalid filter …") for other text, and for other names.
    static Filters parse(std::string_view text, std::string_view accepted);

    bool has(std::string_view name) const;
    const std::vector<std::string>& get(std::string_view name) const;
    bool empty() const noexcept { return values_.empty(); }
    const std::map<std::string, std::vector<std::string>, std::less<>>& all() const noexcept { return values_; }

    /// True where there is no such filter or one of its values is the text exactly.
    bool exact(std::string_view name, std::string_view text) const;

    /// As exact, but a value may also be a regular expression found in the text, as Docker matches names and IDs. For the filters "id"
    /// and "name" only. Throws Error(invalid_argument) where the expressions need more than pattern_memory_limit.
    bool pattern(std::string_view name, std::string_view text) const;

    /// Values "key" or "key=value"; all of them must be in the map. True where there is no such filter.
    bool labels(std::string_view name, const std::map<std::string, std::string>& labels) const;
    /// For label!: true where none of them is.
    bool no_labels(std::string_view name, const std::map<std::string, std::string>& labels) const;

    /// The one value of "until" as a time. Throws Error(invalid_argument) for other text and for several.
    std::optional<Time> until() const;

    /// The one value as true or false. Throws Error(invalid_argument) for another or for both.
    std::optional<bool> flag(std::string_view name) const;

private:
    std::map<std::string, std::vector<std::string>, std::less<>> values_;
    std::map<std::string, std::shared_ptr<const Patterns>, std::less<>> patterns_;
};

/// Those of a request, by what the table of operations accepts.
Filters filters_of(const Exchange& exchange);

/// Values of publish= and expose=: "80", "80/udp", "8080-8090/tcp".
class PortFilter {
public:
    /// Of a client's `filters`, the one of that name. Throws Error(invalid_argument).
    static PortFilter parse(const Filters& filters, std::string_view name);
    bool contains(std::uint16_t port, std::string_view protocol) const;

private:
    struct Range {
        std::uint16_t first = 0;
        std::uint16_t last = 0;
        std::string protocol;
    };
    std::vector<Range> ranges_;
};

/// A time as since=, until= and the until filter have it: Unix seconds with up to nine decimals, RFC 3339, or a Go duration
/// before `now` ("10m", "1h30m"). Nothing for other text.
std::optional<Time> parse_timestamp(std::string_view text, Time now);

}  // namespace grua::api
