#include "base/codec.hpp"

namespace grua::json {

void append_string(std::string& out, std::string_view text) {
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

namespace detail {

void wrong_type(const std::string& path, const char* expected, const Value& got) {
    const std::string_view kind = boost::json::to_string(got.kind());
    fail(ErrorKind::invalid_argument, "{}: expected {}, got {}", path.empty() ? "body" : path, expected, kind);
}

const Value* find_member(const boost::json::object& object, std::string_view name) {
    if (const Value* exact = object.if_contains(name)) return exact;
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    const auto same = [&](const auto& member) { return std::ranges::equal(member.key(), name, {}, lower, lower); };
    const auto found = std::ranges::find_if(object, same);
    return found == object.end() ? nullptr : &found->value();
}

void read_members(const Value& from, void* out, const std::string& path, const Fields& fields) {
    const boost::json::object* object = from.if_object();
    if (!object) wrong_type(path, "an object", from);
    for (const Field& each : fields) {
        const Value* found = find_member(*object, each.name);
        if (!found || found->is_null()) continue;
        const std::string place = path.empty() ? each.name : path + "." + each.name;
        if (each.takes_text && found->is_string())
            each.codec->read(Value(boost::json::array{*found}), each.of(out), place);
        else
            each.codec->read(*found, each.of(out), place);
    }
}

Value write_members(const void* in, Version version, const Fields& fields) {
    boost::json::object out;
    for (const Field& each : fields) {
        if (version < each.since || (each.omit_empty && each.codec->is_default(each.of(in)))) continue;
        out.emplace(each.name, each.codec->write(each.of(in), version));
    }
    return out;
}

void append_members(std::string& out, const void* in, Version version, const Fields& fields, const AtMember& at_member) {
    out += '{';
    bool is_first = true;
    for (const Field& each : fields) {
        if (version < each.since || (each.omit_empty && each.codec->is_default(each.of(in)))) continue;
        if (!std::exchange(is_first, false)) out += ',';
        append_string(out, each.name);
        out += ':';
        if (at_member) at_member(each.name);
        each.codec->append(out, each.of(in), version);
    }
    out += '}';
}

bool equal_members(const void* left, const void* right, const Fields& fields) {
    return std::ranges::all_of(fields, [&](const Field& each) { return each.codec->equals(each.of(left), each.of(right)); });
}

void each_text_of_members(const void* in, const std::string& path, const TextSink& sink, const Fields& fields) {
    for (const Field& each : fields)
        each.codec->each_text(each.of(in), path.empty() ? std::string(each.name) : fmt::format("{}.{}", path, each.name), sink);
}

Value parse_body(std::string_view text) {
    boost::json::parse_options options;
    options.max_depth = depth_limit;
    boost::system::error_code error;
    Value value = boost::json::parse(text, error, {}, options);
    if (error) fail(ErrorKind::invalid_argument, "body: not valid JSON: {}", error.message());
    return value;
}

template struct Ops<bool>;
template struct Ops<int>;
template struct Ops<std::int64_t>;
template struct Ops<std::uint64_t>;
template struct Ops<std::string>;
template struct Ops<Time>;
template struct Ops<Value>;
template struct Ops<std::optional<bool>>;
template struct Ops<std::optional<std::int64_t>>;
template struct Ops<std::optional<std::string>>;
template struct Ops<std::vector<std::string>>;
template struct Ops<std::optional<std::vector<std::string>>>;
template struct Ops<std::map<std::string, std::string>>;
template struct Ops<std::optional<std::map<std::string, std::string>>>;

}  // namespace detail
}  // namespace grua::json
