// Go's text/template, as far as docker's --format uses it, over JSON values: fields and chains, pipelines, variables, with, if,
// range (with else), comparison and boolean functions, printf, and docker's json, join, split, upper, lower, title, pad,
// truncate. What Go's engine has beyond that (define, block, template, break) is an error that says so.
#pragma once

#include <boost/json/value.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace grua::templates {

using Value = boost::json::value;

/// Pipelines inside parentheses, and blocks inside blocks, nest no deeper.
inline constexpr int template_depth_limit = 64;

struct TemplateOptions {
    /// Asked before an object's members: {{.Label "x"}}. Nothing where there is no such method.
    std::function<std::optional<Value>(const Value& receiver, std::string_view name, std::span<const Value> arguments)> method;
    /// A member that an object does not have: an error, or null where the document may leave it out.
    std::function<bool(std::string_view name)> may_be_missing;
    /// For a table's head: json, upper, join and the like give back what they get.
    bool heading = false;
};

class Template {
public:
    struct Node;

    /// Throws Error(invalid_argument), "template parsing error: …".
    static Template parse(std::string_view text);

    std::string run(const Value& data, const TemplateOptions& options = {}) const;

    /// True where a field of that name occurs anywhere.
    bool mentions(std::string_view field) const;

    ~Template();
    Template(Template&&) noexcept;
    Template& operator=(Template&&) noexcept;

private:
    Template() = default;
    std::vector<std::unique_ptr<Node>> nodes_;
    std::vector<std::string> fields_;
};

/// As Go prints a value: maps as map[a:1 b:2], lists as [a b], null as <no value>.
std::string print_value(const Value& value);

/// Go's json.Marshal: <, > and & are escaped, as docker's {{json .}} does not; so plain JSON without spaces.
std::string to_json(const Value& value);

/// JSON with an indentation, members in their order.
std::string pretty_json(const Value& value, std::string_view indentation = "    ");

namespace detail {
/// Calls a function by name. Throws Error where there is none or its arguments are wrong.
Value call_function(std::string_view name, std::span<const Value> arguments, bool heading);
bool is_function(std::string_view name);
bool is_true(const Value& value);
}  // namespace detail

}  // namespace grua::templates
