// JSON for wire types. A wire type is a plain struct with one table, `fields`, that names each member once; reading,
// writing and the API's version rules all come from it.
//
// Reading: a missing or null member keeps its default, a null element is an empty one, an unknown member is ignored, a wrong type is
// an invalid_argument that says where: "HostConfig.Memory: expected a number, got a string". Numbers that do not fit are refused, not cut.
// Names are matched exactly, then without regard to case, because Docker's own server does and some clients rely on it.
#pragma once

#include "base/error.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <concepts>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
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

template <typename Struct, typename Member>
struct Field {
    const char* name;
    Member Struct::* member;
    Version since{};
    bool omit_empty = false;
    bool takes_text = false;

    constexpr Field added_in(int minor_number) const {
        Field field = *this;
        field.since = {1, minor_number};
        return field;
    }
    constexpr Field omitted_when_empty() const {
        Field field = *this;
        field.omit_empty = true;
        return field;
    }
    /// A list that a client may send as one string, which is its only entry then.
    constexpr Field or_text() const {
        Field field = *this;
        field.takes_text = true;
        return field;
    }
};

template <typename Struct, typename Member>
constexpr Field<Struct, Member> field(const char* name, Member Struct::* member) {
    return {name, member};
}

template <typename T>
concept WireStruct = requires { T::fields(); };

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

namespace detail {

[[noreturn]] inline void wrong_type(const std::string& path, const char* expected, const Value& got) {
    const std::string_view kind = boost::json::to_string(got.kind());
    fail(ErrorKind::invalid_argument, "{}: expected {}, got {}", path.empty() ? "body" : path, expected, kind);
}

/// Null where there is no such member.
inline const Value* find_member(const boost::json::object& object, std::string_view name) {
    if (const Value* exact = object.if_contains(name)) return exact;
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    const auto same = [&](const auto& member) { return std::ranges::equal(member.key(), name, {}, lower, lower); };
    const auto found = std::ranges::find_if(object, same);
    return found == object.end() ? nullptr : &found->value();
}

template <typename T>
void read(const Value& value, T& out, const std::string& path);

template <WireStruct T>
void read_struct(const Value& value, T& out, const std::string& path) {
    const boost::json::object* object = value.if_object();
    if (!object) wrong_type(path, "an object", value);
    std::apply(
        [&](const auto&... each) {
            const auto read_one = [&](const auto& one) {
                const Value* found = find_member(*object, one.name);
                if (!found || found->is_null()) return;
                const std::string place = path.empty() ? one.name : path + "." + one.name;
                if (one.takes_text && found->is_string())
                    read(Value(boost::json::array{*found}), out.*one.member, place);
                else
                    read(*found, out.*one.member, place);
            };
            (read_one(each), ...);
        },
        T::fields());
}

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
        read_struct(value, out, path);
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
Value write(const T& in, Version version);

template <WireStruct T>
Value write_struct(const T& in, Version version) {
    boost::json::object out;
    std::apply(
        [&](const auto&... each) {
            const auto write_one = [&](const auto& one) {
                if (version < one.since) return;
                const auto& member = in.*one.member;
                if (one.omit_empty && member == std::remove_cvref_t<decltype(member)>{}) return;
                out.emplace(one.name, write(member, version));
            };
            (write_one(each), ...);
        },
        T::fields());
    return out;
}

template <typename T>
Value write(const T& in, Version version) {
    if constexpr (WireStruct<T>) {
        return write_struct(in, version);
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

}  // namespace detail

template <WireStruct T>
T parse(std::string_view text) {
    boost::json::parse_options options;
    options.max_depth = depth_limit;
    boost::system::error_code error;
    const Value value = boost::json::parse(text, error, {}, options);
    if (error) fail(ErrorKind::invalid_argument, "body: not valid JSON: {}", error.message());
    T out{};
    detail::read(value, out, "");
    return out;
}

/// `version` is the API version that the client speaks: members that are newer are left out.
template <WireStruct T>
std::string dump(const T& in, Version version) {
    return boost::json::serialize(detail::write(in, version));
}

}  // namespace grua::json
