#include "base/template.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <boost/json.hpp>

namespace grua::templates {

namespace {

[[noreturn]] void wrong(std::string_view name, std::string_view why) {
    fail(ErrorKind::invalid_argument, "template: :1: error calling {}: {}", name, why);
}

void need(std::string_view name, std::span<const Value> arguments, std::size_t least, std::size_t most) {
    if (arguments.size() < least || arguments.size() > most) {
        wrong(name, fmt::format("wrong number of args: want {}, got {}", least, arguments.size()));
    }
}

std::string text_of(std::string_view name, const Value& value) {
    if (const auto* text = value.if_string()) return std::string(*text);
    wrong(name, fmt::format("expected string; found {}", print_value(value)));
}

std::optional<double> number_of(const Value& value) {
    if (value.is_int64()) return static_cast<double>(value.get_int64());
    if (value.is_uint64()) return static_cast<double>(value.get_uint64());
    if (value.is_double()) return value.get_double();
    return std::nullopt;
}

/// Less, equal or greater; strings and numbers only.
int compare(std::string_view name, const Value& a, const Value& b) {
    if (a.is_string() && b.is_string()) return std::string_view(a.get_string()).compare(std::string_view(b.get_string()));
    const auto left = number_of(a);
    const auto right = number_of(b);
    if (!left || !right) wrong(name, "incompatible types for comparison");
    return *left < *right ? -1 : (*left > *right ? 1 : 0);
}

bool equal(const Value& a, const Value& b) {
    const auto left = number_of(a);
    const auto right = number_of(b);
    if (left && right) return *left == *right;
    return a == b;
}

std::size_t length_of(std::string_view name, const Value& value) {
    if (const auto* text = value.if_string()) return text->size();
    if (const auto* list = value.if_array()) return list->size();
    if (const auto* object = value.if_object()) return object->size();
    if (value.is_null()) return 0;
    wrong(name, fmt::format("len of {}", print_value(value)));
}

Value index(std::span<const Value> arguments) {
    if (arguments.empty()) wrong("index", "missing value");
    Value value = arguments[0];
    for (const Value& key : arguments.subspan(1)) {
        if (const auto* object = value.if_object()) {
            if (!key.is_string()) wrong("index", "cannot index a map with that type");
            const Value* found = object->if_contains(key.get_string());
            value = found ? Value(*found) : Value(nullptr);
        } else if (const auto* list = value.if_array()) {
            const auto at = number_of(key);
            if (!at || *at < 0 || static_cast<std::size_t>(*at) >= list->size())
                wrong("index", fmt::format("index out of range: {}", print_value(key)));
            value = Value((*list)[static_cast<std::size_t>(*at)]);
        } else if (value.is_null()) {
            wrong("index", "index of nil pointer");
        } else {
            wrong("index", fmt::format("can't index item of {}", print_value(value)));
        }
    }
    return value;
}

/// One verb of printf: flags, width and precision as C has them.
std::string print_verb(const std::string& flags, char verb, const Value* argument) {
    if (!argument) return fmt::format("%!{}(MISSING)", verb);
    const auto pad = [&](std::string text) {
        const bool left = flags.find('-') != std::string::npos;
        const std::size_t start = flags.find_first_of("123456789");
        const std::size_t width = start == std::string::npos ? 0 : parse_uint(flags.substr(start, flags.find('.') - start)).value_or(0);
        if (text.size() < width) text.insert(left ? text.size() : 0, std::min<std::size_t>(width, 1000) - text.size(), ' ');
        return text;
    };
    std::array<char, 512> buffer;
    const auto c_format = [&](const std::string& type, auto value) {
        const std::string format = "%" + flags.substr(0, 16) + type;
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wformat-nonliteral"
        const int size = std::snprintf(buffer.data(), buffer.size(), format.c_str(), value);
#pragma clang diagnostic pop
        return std::string(buffer.data(), std::min(buffer.size() - 1, static_cast<std::size_t>(std::max(size, 0))));
    };
    const auto number = number_of(*argument);
    switch (verb) {
        case 'd':
        case 'x':
        case 'X':
        case 'o':
            if (number) return c_format(std::string("ll") + verb, static_cast<long long>(*number));
            break;
        case 'f':
        case 'g':
        case 'e':
            if (number) return c_format(std::string(1, verb), *number);
            break;
        case 'q':
            return pad(boost::json::serialize(argument->is_string() ? *argument : Value(print_value(*argument))));
        case 't':
        case 's':
        case 'v':
            return pad(print_value(*argument));
        default:
            break;
    }
    return fmt::format("%!{}({})", verb, print_value(*argument));
}

std::string print_format(std::span<const Value> arguments) {
    if (arguments.empty()) wrong("printf", "wrong number of args: want at least 1 got 0");
    const std::string format = text_of("printf", arguments[0]);
    std::size_t next = 1;
    std::string out;
    for (std::size_t i = 0; i < format.size(); ++i) {
        if (format[i] != '%') {
            out += format[i];
            continue;
        }
        if (++i >= format.size()) return out + "%!(NOVERB)";
        if (format[i] == '%') {
            out += '%';
            continue;
        }
        std::string flags;
        while (i < format.size() && std::string_view("+-# 0123456789.").find(format[i]) != std::string_view::npos) flags += format[i++];
        if (i >= format.size()) return out + "%!(NOVERB)";
        out += print_verb(flags, format[i], next < arguments.size() ? &arguments[next] : nullptr);
        ++next;
    }
    return out;
}

std::string title(std::string text) {
    bool start = true;
    for (char& c : text) {
        if (start) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
        start = std::isspace(static_cast<unsigned char>(c)) != 0;
    }
    return text;
}

std::string upper(std::string text) {
    for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return text;
}

std::string joined(std::span<const Value> values, std::string_view between) {
    std::string out;
    for (std::size_t i = 0; i < values.size(); ++i) out += (i ? std::string(between) : std::string()) + print_value(values[i]);
    return out;
}

Value join_list(std::span<const Value> arguments) {
    need("join", arguments, 2, 2);
    const auto* list = arguments[0].if_array();
    if (!list) {
        if (arguments[0].is_null()) return "";
        wrong("join", fmt::format("expected []string; found {}", print_value(arguments[0])));
    }
    return Value(joined(std::span(list->data(), list->size()), text_of("join", arguments[1])));
}

Value split_text(std::span<const Value> arguments) {
    need("split", arguments, 2, 2);
    const std::string text = text_of("split", arguments[0]);
    const std::string separator = text_of("split", arguments[1]);
    boost::json::array parts;
    if (separator.empty()) {
        for (const char c : text) parts.emplace_back(std::string(1, c));
        return parts;
    }
    std::size_t at = 0;
    for (std::size_t end = text.find(separator); end != std::string::npos; end = text.find(separator, at)) {
        parts.emplace_back(text.substr(at, end - at));
        at = end + separator.size();
    }
    parts.emplace_back(text.substr(at));
    return parts;
}

using Function = Value (*)(std::span<const Value>);

struct Entry {
    std::string_view name;
    Function call;
    bool plain_in_heading = false;
};

bool all_equal(std::span<const Value> arguments) {
    need("eq", arguments, 2, 100);
    return std::ranges::any_of(arguments.subspan(1), [&](const Value& each) { return equal(arguments[0], each); });
}

template <typename Decide>
Value ordered(std::string_view name, std::span<const Value> arguments, Decide decide) {
    need(name, arguments, 2, 2);
    return decide(compare(name, arguments[0], arguments[1]));
}

constexpr std::array functions{
    Entry{"json",
          [](std::span<const Value> a) -> Value {
              need("json", a, 1, 1);
              return Value(to_json(a[0]));
          },
          true},
    Entry{"join", join_list, true},
    Entry{"split", split_text, true},
    Entry{"upper",
          [](std::span<const Value> a) -> Value {
              need("upper", a, 1, 1);
              return Value(upper(text_of("upper", a[0])));
          },
          true},
    Entry{"lower",
          [](std::span<const Value> a) -> Value {
              need("lower", a, 1, 1);
              return Value(to_lower(text_of("lower", a[0])));
          },
          true},
    Entry{"title",
          [](std::span<const Value> a) -> Value {
              need("title", a, 1, 1);
              return Value(title(text_of("title", a[0])));
          },
          true},
    Entry{"pad",
          [](std::span<const Value> a) -> Value {
              need("pad", a, 3, 3);
              const auto spaces = [](const Value& v) {
                  return std::string(static_cast<std::size_t>(std::clamp(number_of(v).value_or(0), 0.0, 1000.0)), ' ');
              };
              const std::string text = text_of("pad", a[0]);
              return Value(text.empty() ? text : spaces(a[1]) + text + spaces(a[2]));
          },
          true},
    Entry{"truncate",
          [](std::span<const Value> a) -> Value {
              need("truncate", a, 2, 2);
              return Value(text_of("truncate", a[0]).substr(0, static_cast<std::size_t>(std::max(number_of(a[1]).value_or(0), 0.0))));
          },
          true},
    Entry{"len",
          [](std::span<const Value> a) -> Value {
              need("len", a, 1, 1);
              return Value(length_of("len", a[0]));
          }},
    Entry{"index", index},
    Entry{"slice",
          [](std::span<const Value> a) -> Value {
              need("slice", a, 1, 3);
              const std::size_t size = length_of("slice", a[0]);
              const auto at = [&](std::size_t i, std::size_t otherwise) {
                  return i < a.size() ? static_cast<std::size_t>(std::max(number_of(a[i]).value_or(0), 0.0)) : otherwise;
              };
              const std::size_t from = at(1, 0);
              const std::size_t to = at(2, size);
              if (from > to || to > size) wrong("slice", "index out of range");
              if (const auto* list = a[0].if_array()) {
                  return boost::json::array(list->begin() + static_cast<std::ptrdiff_t>(from),
                                            list->begin() + static_cast<std::ptrdiff_t>(to));
              }
              return Value(text_of("slice", a[0]).substr(from, to - from));
          }},
    Entry{"print", [](std::span<const Value> a) -> Value { return Value(joined(a, "")); }},
    Entry{"println", [](std::span<const Value> a) -> Value { return Value(joined(a, " ") + "\n"); }},
    Entry{"printf", [](std::span<const Value> a) -> Value { return Value(print_format(a)); }},
    Entry{"eq", [](std::span<const Value> a) -> Value { return all_equal(a); }},
    Entry{"ne",
          [](std::span<const Value> a) -> Value {
              need("ne", a, 2, 2);
              return !equal(a[0], a[1]);
          }},
    Entry{"lt", [](std::span<const Value> a) -> Value { return ordered("lt", a, [](int c) { return c < 0; }); }},
    Entry{"le", [](std::span<const Value> a) -> Value { return ordered("le", a, [](int c) { return c <= 0; }); }},
    Entry{"gt", [](std::span<const Value> a) -> Value { return ordered("gt", a, [](int c) { return c > 0; }); }},
    Entry{"ge", [](std::span<const Value> a) -> Value { return ordered("ge", a, [](int c) { return c >= 0; }); }},
    // The caller stopped at the operand that decides, so the last one is the result.
    Entry{"and",
          [](std::span<const Value> a) -> Value {
              need("and", a, 1, 100);
              return Value(a.back());
          }},
    Entry{"or",
          [](std::span<const Value> a) -> Value {
              need("or", a, 1, 100);
              return Value(a.back());
          }},
    Entry{"not",
          [](std::span<const Value> a) -> Value {
              need("not", a, 1, 1);
              return !detail::is_true(a[0]);
          }},
};

const Entry* find(std::string_view name) {
    const auto* found = std::ranges::find(functions, name, &Entry::name);
    return found == functions.end() ? nullptr : found;
}

void write_pretty(std::string& out, const Value& value, std::string_view indentation, std::size_t depth) {
    const auto line = [&](std::size_t level) {
        out += '\n';
        for (std::size_t i = 0; i < level; ++i) out += indentation;
    };
    if (const auto* object = value.if_object()) {
        if (object->empty()) {
            out += "{}";
            return;
        }
        out += '{';
        bool first = true;
        for (const auto& [key, each] : *object) {
            if (!std::exchange(first, false)) out += ',';
            line(depth + 1);
            out += boost::json::serialize(boost::json::string(key)) + ": ";
            write_pretty(out, each, indentation, depth + 1);
        }
        line(depth);
        out += '}';
    } else if (const auto* list = value.if_array()) {
        if (list->empty()) {
            out += "[]";
            return;
        }
        out += '[';
        bool first = true;
        for (const Value& each : *list) {
            if (!std::exchange(first, false)) out += ',';
            line(depth + 1);
            write_pretty(out, each, indentation, depth + 1);
        }
        line(depth);
        out += ']';
    } else {
        out += to_json(value);
    }
}

}  // namespace

namespace detail {

bool is_function(std::string_view name) {
    constexpr std::array keywords{"if", "range", "with", "else", "end", "define", "template", "block", "break", "continue"};
    return find(name) != nullptr || std::ranges::find(keywords, name) != keywords.end();
}

Value call_function(std::string_view name, std::span<const Value> arguments, bool heading) {
    const Entry* entry = find(name);
    if (!entry) fail(ErrorKind::invalid_argument, "template parsing error: template: :1: unexpected <{}> in command", name);
    if (heading && entry->plain_in_heading && !arguments.empty()) return arguments[0];
    return entry->call(arguments);
}

bool is_true(const Value& value) {
    switch (value.kind()) {
        case boost::json::kind::null:
            return false;
        case boost::json::kind::bool_:
            return value.get_bool();
        case boost::json::kind::int64:
            return value.get_int64() != 0;
        case boost::json::kind::uint64:
            return value.get_uint64() != 0;
        case boost::json::kind::double_:
            return value.get_double() != 0;
        case boost::json::kind::string:
            return !value.get_string().empty();
        case boost::json::kind::array:
            return !value.get_array().empty();
        case boost::json::kind::object:
            return !value.get_object().empty();
    }
    return false;
}

}  // namespace detail

std::string print_value(const Value& value) {
    switch (value.kind()) {
        case boost::json::kind::null:
            return "<no value>";
        case boost::json::kind::bool_:
            return value.get_bool() ? "true" : "false";
        case boost::json::kind::int64:
            return fmt::format("{}", value.get_int64());
        case boost::json::kind::uint64:
            return fmt::format("{}", value.get_uint64());
        case boost::json::kind::double_:
            return fmt::format("{}", value.get_double());
        case boost::json::kind::string:
            return std::string(value.get_string());
        case boost::json::kind::array: {
            const auto& list = value.get_array();
            return "[" + joined(std::span(list.data(), list.size()), " ") + "]";
        }
        case boost::json::kind::object: {
            std::vector<std::string> parts;
            for (const auto& [key, each] : value.get_object()) {
                parts.push_back(std::string(key) + ":" + (each.is_null() ? std::string("<nil>") : print_value(each)));
            }
            std::ranges::sort(parts);
            return "map[" + join(parts, " ") + "]";
        }
    }
    return {};
}

std::string to_json(const Value& value) { return boost::json::serialize(value); }

std::string pretty_json(const Value& value, std::string_view indentation) {
    std::string out;
    write_pretty(out, value, indentation, 0);
    return out;
}

}  // namespace grua::templates
