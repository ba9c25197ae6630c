#include "build/dockerfile/flags.hpp"

#include "base/text.hpp"
#include "build/dockerfile/source.hpp"
#include "build/dockerfile/suggestion.hpp"

#include <algorithm>

namespace grua::build::dockerfile::detail {
namespace {

/// What a value of true or false is kept as.
constexpr std::string_view yes = "true";
constexpr std::string_view no = "false";

std::string truth_value(std::string_view name, std::optional<std::string_view> value) {
    if (!value) return std::string(yes);
    if (value->empty()) fail(ErrorKind::invalid_argument, "missing a value on flag: {}", name);
    const std::string lower = to_lower(*value);
    if (lower != yes && lower != no) {
        fail(ErrorKind::invalid_argument, "expecting boolean value for flag {}, not: {}", name, shortened(*value));
    }
    return lower;
}

}  // namespace

Flags::Flags(const std::vector<std::string>& given, std::span<const KnownFlag> known) {
    for (const std::string& flag : given) take(flag, known);
}

void Flags::take(const std::string& flag, std::span<const KnownFlag> known) {
    const std::size_t sign = flag.find('=');
    const std::string name = flag.substr(0, sign);  // With its dashes.
    const std::string_view bare = std::string_view(name).substr(std::min<std::size_t>(2, name.size()));
    const auto found = std::ranges::find(known, bare, &KnownFlag::name);
    if (found == known.end()) {
        std::vector<std::string_view> names;
        for (const KnownFlag& one : known) names.push_back(one.name);
        fail(ErrorKind::invalid_argument, "unknown flag: {}{}", shortened(name), did_you_mean(bare, names));
    }
    std::vector<std::string>& values = values_[std::string(bare)];
    if (!values.empty() && found->kind != FlagKind::list) fail(ErrorKind::invalid_argument, "duplicate flag specified: {}", name);
    std::optional<std::string_view> value;
    if (sign != std::string::npos) value = std::string_view(flag).substr(sign + 1);
    if (found->kind == FlagKind::truth) {
        values.push_back(truth_value(name, value));
        return;
    }
    if (!value) fail(ErrorKind::invalid_argument, "missing a value on flag: {}", name);
    values.emplace_back(*value);
}

std::string Flags::text(std::string_view name) const {
    const auto found = values_.find(name);
    return found == values_.end() ? std::string() : found->second.front();
}

std::optional<bool> Flags::truth(std::string_view name) const {
    const auto found = values_.find(name);
    if (found == values_.end()) return std::nullopt;
    return found->second.front() == yes;
}

std::vector<std::string> Flags::list(std::string_view name) const {
    const auto found = values_.find(name);
    return found == values_.end() ? std::vector<std::string>() : found->second;
}

std::vector<std::string> Flags::used() const {
    std::vector<std::string> out;
    for (const auto& [name, values] : values_) out.push_back(name);
    return out;
}

std::vector<std::string> csv_fields(std::string_view line) {
    const auto refuse = [](std::size_t at, std::string_view why) {
        fail(ErrorKind::invalid_argument, "parse error on line 1, column {}: {}", at + 1, why);
    };
    if (line.ends_with('\n')) line.remove_suffix(1);
    if (line.empty()) fail(ErrorKind::invalid_argument, "EOF");
    std::vector<std::string> out;
    std::size_t at = 0;
    while (true) {
        std::string& field = out.emplace_back();
        if (at >= line.size() || line[at] != '"') {
            const std::size_t end = std::min(line.find(',', at), line.size());
            field = line.substr(at, end - at);
            if (const std::size_t quote = field.find('"'); quote != std::string::npos) refuse(at + quote, "bare \" in non-quoted field");
            at = end;
        } else {
            for (++at;;) {
                const std::size_t quote = line.find('"', at);
                if (quote == std::string_view::npos) refuse(at, "extraneous or missing \" in quoted-field");
                field += line.substr(at, quote - at);
                at = quote + 1;
                if (at == line.size() || line[at] == ',') break;
                if (line[at] != '"') refuse(quote, "extraneous or missing \" in quoted-field");
                field += '"';
                ++at;
            }
        }
        if (at >= line.size()) return out;
        ++at;  // The comma, behind which there is a field, empty or not.
    }
}

}  // namespace grua::build::dockerfile::detail
