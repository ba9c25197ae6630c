// JSON for wire types. A wire type is a plain struct with one table, `fields`, that names each member once; reading,
// writing and the API's version rules all come from it.
//
// What is done with a member depends on its type alone, so a table is a list of names, offsets and the six things that can be done with a
// member's type (`Codec`). A compiler reads a long table as quickly as a list, and a program has the code for each type once.
//
// Reading: a missing or null member keeps its default, a null element is an empty one, an unknown member is ignored, a wrong type is
// an invalid_argument that says where: "HostConfig.Memory: expected a number, got a string". Numbers that do not fit are refused, not cut.
// Names are matched exactly, then without regard to case, because Docker's own server does and some clients rely on it.
#pragma once

#include "base/error.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <boost/json.hpp>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace grua::json {

using Value = boost::json::value;

/// Deeper bodies are refused by the parser.
inline constexpr std::size_t depth_limit = 32;

/// An Engine API version, 1.44 as {1, 44}.
struct Version {
    int major_number = 1;
    int minor_number = 0;
    friend auto operator<=>(const Version&, const Version&) = default;
};

/// A text at or below a value, and its place: "HostConfig.Dns[0]". Keys of maps are texts, too.
using TextSink = std::function<void(const std::string& path, std::string_view text)>;

/// What can be done with a value of one type.
struct Codec {
    void (*read)(const Value& from, void* out, const std::string& path);
    Value (*write)(const void* in, Version version);
    void (*append)(std::string& out, const void* in, Version version);
    bool (*is_default)(const void* in);
    bool (*equals)(const void* left, const void* right);
    void (*each_text)(const void* in, const std::string& path, const TextSink& sink);
};

/// One line of a table.
struct Field {
    const char* name;
    std::ptrdiff_t offset;
    const Codec* codec;
    Version since{};
    bool omit_empty = false;
    bool takes_text = false;

    Field added_in(int minor_number) const {
        Field field = *this;
        field.since = {1, minor_number};
        return field;
    }
    Field omitted_when_empty() const {
        Field field = *this;
        field.omit_empty = true;
        return field;
    }
    /// A list that a client may send as one string, which is its only entry then.
    Field or_text() const {
        Field field = *this;
        field.takes_text = true;
        return field;
    }

    void* of(void* object) const { return static_cast<std::byte*>(object) + offset; }
    const void* of(const void* object) const { return static_cast<const std::byte*>(object) + offset; }
};

using Fields = std::vector<Field>;

template <typename T>
concept WireStruct = requires {
    { T::fields() } -> std::same_as<Fields>;
};

template <WireStruct T>
const Fields& fields_of() {
    static const Fields all = T::fields();
    return all;
}

/// One table. What a struct derives from is its first base, so the base's table holds for it as it is.
template <std::same_as<Fields>... More>
Fields joined(Fields first, const More&... more) {
    (first.insert(first.end(), more.begin(), more.end()), ...);
    return first;
}

/// For a type that is a string on the wire: `write(T)`, `read(text)` that gives an optional, and `expected`, which names it in errors.
template <typename T>
struct Text;

template <>
struct Text<Time> {
    static constexpr const char* expected = "a time";
    static std::string write(Time time) { return format_time(time); }
    static std::optional<Time> read(std::string_view text) { return parse_time(text); }
};

template <typename T>
concept TextCoded = requires { Text<T>::expected; };

void append_string(std::string& out, std::string_view text);

using AtMember = std::function<void(std::string_view name)>;

namespace detail {

[[noreturn]] void wrong_type(const std::string& path, const char* expected, const Value& got);

/// Null where there is no such member.
const Value* find_member(const boost::json::object& object, std::string_view name);

void read_members(const Value& from, void* out, const std::string& path, const Fields& fields);
Value write_members(const void* in, Version version, const Fields& fields);
void append_members(std::string& out, const void* in, Version version, const Fields& fields, const AtMember& at_member = {});
bool equal_members(const void* left, const void* right, const Fields& fields);
void each_text_of_members(const void* in, const std::string& path, const TextSink& sink, const Fields& fields);
Value parse_body(std::string_view text);

template <typename T>
struct is_optional : std::false_type {};
template <typename T>
struct is_optional<std::optional<T>> : std::true_type {};
template <typename T>
struct is_list : std::false_type {};
template <typename T>
struct is_list<std::vector<T>> : std::true_type {};
template <typename T>
struct is_map : std::false_type {};
template <typename T>
struct is_map<std::map<std::string, T>> : std::true_type {};

template <typename T>
void read(const Value& value, T& out, const std::string& path) {
    if constexpr (WireStruct<T>) {
        read_members(value, &out, path, fields_of<T>());
    } else if constexpr (is_optional<T>::value) {
        read(value, out.emplace(), path);
    } else if constexpr (is_list<T>::value) {
        const boost::json::array* array = value.if_array();
        if (!array) wrong_type(path, "an array", value);
        out.clear();
        for (const Value& each : *array) {
            out.emplace_back();
            if (!each.is_null()) read(each, out.back(), fmt::format("{}[{}]", path, out.size() - 1));
        }
    } else if constexpr (is_map<T>::value) {
        const boost::json::object* object = value.if_object();
        if (!object) wrong_type(path, "an object", value);
        out.clear();
        for (const auto& [key, each] : *object) {
            auto& element = out[std::string(key)];
            if (!each.is_null()) read(each, element, fmt::format("{}[{}]", path, printable(std::string_view(key))));
        }
    } else if constexpr (std::same_as<T, bool>) {
        if (!value.is_bool()) wrong_type(path, "a boolean", value);
        out = value.get_bool();
    } else if constexpr (std::integral<T>) {
        if (!value.is_int64() && !value.is_uint64()) wrong_type(path, "an integer", value);
        const bool fits = value.is_uint64() ? std::in_range<T>(value.get_uint64()) : std::in_range<T>(value.get_int64());
        if (!fits) fail(ErrorKind::invalid_argument, "{}: {} is out of range", path, boost::json::serialize(value));
        out = value.to_number<T>();
    } else if constexpr (std::same_as<T, std::string>) {
        if (!value.is_string()) wrong_type(path, "a string", value);
        out = value.get_string();
    } else if constexpr (TextCoded<T>) {
        if (!value.is_string()) wrong_type(path, Text<T>::expected, value);
        const auto found = Text<T>::read(std::string_view(value.get_string()));
        if (!found)
            fail(ErrorKind::invalid_argument, "{}: expected {}, got \"{}\"", path, Text<T>::expected,
                 printable(std::string_view(value.get_string())));
        out = *found;
    } else {
        static_assert(std::same_as<T, Value>, "give this type a fields() table, or a case here");
        out = value;
    }
}

template <typename T>
Value write(const T& in, Version version) {
    if constexpr (WireStruct<T>) {
        return write_members(&in, version, fields_of<T>());
    } else if constexpr (is_optional<T>::value) {
        return in ? write(*in, version) : Value(nullptr);
    } else if constexpr (is_list<T>::value) {
        boost::json::array out;
        out.reserve(in.size());
        for (const auto& each : in) out.push_back(write(each, version));
        return out;
    } else if constexpr (is_map<T>::value) {
        boost::json::object out;
        for (const auto& [key, each] : in) out.emplace(key, write(each, version));
        return out;
    } else if constexpr (TextCoded<T>) {
        return Value(Text<T>::write(in));
    } else {
        return Value(in);
    }
}

template <typename T>
void append(std::string& out, const T& in, Version version) {
    if constexpr (WireStruct<T>) {
        append_members(out, &in, version, fields_of<T>());
    } else if constexpr (is_optional<T>::value) {
        if (in) {
            append(out, *in, version);
        } else {
            out += "null";
        }
    } else if constexpr (is_list<T>::value) {
        out += '[';
        bool first = true;
        for (const auto& each : in) {
            if (!first) out += ',';
            first = false;
            append(out, each, version);
        }
        out += ']';
    } else if constexpr (is_map<T>::value) {
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
void each_text(const T& in, const std::string& path, const TextSink& sink) {
    if constexpr (WireStruct<T>) {
        each_text_of_members(&in, path, sink, fields_of<T>());
    } else if constexpr (std::same_as<T, std::string>) {
        sink(path, in);
    } else if constexpr (is_optional<T>::value) {
        if (in) each_text(*in, path, sink);
    } else if constexpr (is_list<T>::value) {
        for (std::size_t at = 0; at < in.size(); ++at) each_text(in[at], fmt::format("{}[{}]", path, at), sink);
    } else if constexpr (is_map<T>::value) {
        for (const auto& [key, each] : in) {
            const std::string place = fmt::format("{}[{}]", path, printable(key));
            sink(place, key);
            each_text(each, place, sink);
        }
    }
}

/// A wire type needs no operator of its own.
template <typename T>
bool equals(const T& left, const T& right) {
    if constexpr (WireStruct<T>) {
        return equal_members(&left, &right, fields_of<T>());
    } else if constexpr (is_optional<T>::value) {
        return left && right ? equals(*left, *right) : left.has_value() == right.has_value();
    } else if constexpr (is_list<T>::value) {
        if (left.size() != right.size()) return false;
        for (std::size_t at = 0; at < left.size(); ++at)
            if (!equals(left[at], right[at])) return false;
        return true;
    } else if constexpr (is_map<T>::value) {
        if (left.size() != right.size()) return false;
        for (auto one = left.begin(), other = right.begin(); one != left.end(); ++one, ++other)
            if (one->first != other->first || !equals(one->second, other->second)) return false;
        return true;
    } else {
        return left == right;
    }
}

template <typename T>
struct Ops {
    static void read(const Value& from, void* out, const std::string& path);
    static Value write(const void* in, Version version);
    static void append(std::string& out, const void* in, Version version);
    static bool is_default(const void* in);
    static bool equals(const void* left, const void* right);
    static void each_text(const void* in, const std::string& path, const TextSink& sink);
};

template <typename T>
void Ops<T>::read(const Value& from, void* out, const std::string& path) {
    detail::read(from, *static_cast<T*>(out), path);
}
template <typename T>
Value Ops<T>::write(const void* in, Version version) {
    return detail::write(*static_cast<const T*>(in), version);
}
template <typename T>
void Ops<T>::append(std::string& out, const void* in, Version version) {
    detail::append(out, *static_cast<const T*>(in), version);
}
template <typename T>
bool Ops<T>::is_default(const void* in) {
    return detail::equals(*static_cast<const T*>(in), T{});
}
template <typename T>
bool Ops<T>::equals(const void* left, const void* right) {
    return detail::equals(*static_cast<const T*>(left), *static_cast<const T*>(right));
}
template <typename T>
void Ops<T>::each_text(const void* in, const std::string& path, const TextSink& sink) {
    detail::each_text(*static_cast<const T*>(in), path, sink);
}

// Made once, in codec.cpp: those of nearly every table.
extern template struct Ops<bool>;
extern template struct Ops<int>;
extern template struct Ops<std::int64_t>;
extern template struct Ops<std::uint64_t>;
extern template struct Ops<std::string>;
extern template struct Ops<Time>;
extern template struct Ops<Value>;
extern template struct Ops<std::optional<bool>>;
extern template struct Ops<std::optional<std::int64_t>>;
extern template struct Ops<std::optional<std::string>>;
extern template struct Ops<std::vector<std::string>>;
extern template struct Ops<std::optional<std::vector<std::string>>>;
extern template struct Ops<std::map<std::string, std::string>>;
extern template struct Ops<std::optional<std::map<std::string, std::string>>>;

template <typename T>
inline constexpr Codec codec{&Ops<T>::read, &Ops<T>::write, &Ops<T>::append, &Ops<T>::is_default, &Ops<T>::equals, &Ops<T>::each_text};

}  // namespace detail

template <typename Struct, typename Member>
Field field(const char* name, Member Struct::* member) {
    return {.name = name, .offset = std::bit_cast<std::ptrdiff_t>(member), .codec = &detail::codec<Member>};
}

template <WireStruct T>
T parse(std::string_view text) {
    T out{};
    detail::read(detail::parse_body(text), out, "");
    return out;
}

/// `version` is the API version that the client speaks: members that are newer are left out.
template <WireStruct T>
std::string dump(const T& in, Version version) {
    return boost::json::serialize(detail::write(in, version));
}

/// Tells `sink` each text of `in`.
using detail::each_text;

// Text at once, without a document in between; what dump() gives, in a fraction of the time. For answers that are long or asked for often.

using detail::append;

/// `at_member(name)` is called before each top-level member's value is written.
template <WireStruct T>
void append_struct(std::string& out, const T& in, Version version, const AtMember& at_member) {
    detail::append_members(out, &in, version, fields_of<T>(), at_member);
}

template <typename T>
std::string text_of(const T& in, Version version) {
    std::string out;
    detail::append(out, in, version);
    return out;
}

}  // namespace grua::json
