#include "cli/flags.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "cli/units.hpp"

#include <algorithm>
#include <utility>

namespace grua::cli {

namespace {

OptionKind kind_of(const Flag& flag) {
    switch (flag.kind) {
        case FlagKind::boolean:
            return OptionKind::boolean;
        case FlagKind::list:
            return OptionKind::list;
        case FlagKind::integer:
            return OptionKind::integer;
        case FlagKind::unsigned_integer:
            return OptionKind::unsigned_integer;
        case FlagKind::text:
        case FlagKind::decimal:
        case FlagKind::bytes:
        case FlagKind::duration:
            break;
    }
    return OptionKind::text;
}

/// "--why" is "--why=", where the value may be left out.
std::vector<std::string> with_values(std::span<const std::span<const Flag>> tables, std::span<const std::string> words) {
    std::vector<std::string> out(words.begin(), words.end());
    for (std::string& word : out) {
        if (word == "--") break;
        for (const auto& table : tables)
            for (const Flag& flag : table)
                if (std::string_view(flag.value).starts_with("[=") && word == std::string("--") + flag.name) word += '=';
    }
    return out;
}

/// The kinds that are Docker's own.
void check(const Flag& flag, const OptionRule& rule, const std::string& value) {
    try {
        if (flag.kind == FlagKind::bytes) parse_size(value);
        if (flag.kind == FlagKind::decimal) parse_cpus(value);
        if (flag.kind == FlagKind::duration) parse_duration(value);
    } catch (const Error& error) {
        refuse_option_value(rule, value, error.what());
    }
}

}  // namespace

const char* value_name(const Flag& flag) {
    if (*flag.value) return flag.value;
    switch (flag.kind) {
        case FlagKind::boolean:
            return "";
        case FlagKind::text:
            return "string";
        case FlagKind::list:
            return "list";
        case FlagKind::integer:
            return "int";
        case FlagKind::unsigned_integer:
            return "uint";
        case FlagKind::decimal:
            return "decimal";
        case FlagKind::bytes:
            return "bytes";
        case FlagKind::duration:
            return "duration";
    }
    return "";
}

const Flag& Flags::definition(std::string_view name) const {
    const auto found = std::ranges::find_if(known_, [&](const Flag* flag) { return flag->name == name; });
    if (found == known_.end()) fail(ErrorKind::system, "the command has no flag --{}", name);
    return **found;
}

std::string Flags::text(std::string_view name) const {
    const auto found = values_.find(name);
    return found == values_.end() ? std::string(definition(name).fallback) : found->second.back();
}

bool Flags::on(std::string_view name) const { return parse_bool(text(name)).value_or(false); }

std::vector<std::string> Flags::list(std::string_view name) const {
    const auto found = values_.find(name);
    return found == values_.end() ? std::vector<std::string>{} : found->second;
}

std::int64_t Flags::integer(std::string_view name) const {
    const std::string value = text(name);
    return parse_int(value.starts_with('+') ? std::string_view(value).substr(1) : std::string_view(value)).value_or(0);
}

std::uint64_t Flags::unsigned_integer(std::string_view name) const { return parse_uint(text(name)).value_or(0); }

std::int64_t Flags::bytes(std::string_view name) const {
    const std::string value = text(name);
    return value.empty() ? 0 : parse_size(value);
}

std::int64_t Flags::nanoseconds(std::string_view name) const {
    const std::string value = text(name);
    return value.empty() ? 0 : parse_duration(value);
}

void Flags::set(std::string_view name, std::string value) { values_.insert_or_assign(std::string(name), std::vector{std::move(value)}); }

void Flags::add(std::string_view name, std::string value) { values_[std::string(name)].push_back(std::move(value)); }

Parsed parse_flags(std::span<const std::span<const Flag>> tables, std::span<const std::string> words, Interspersed interspersed) {
    Parsed parsed;
    std::vector<OptionRule> rules;
    for (const auto& table : tables) {
        for (const Flag& flag : table) {
            parsed.flags.known_.push_back(&flag);
            rules.push_back({flag.name, flag.letter, kind_of(flag), flag.hidden});
        }
    }
    try {
        CommandLine line =
            parse_command_line(rules, with_values(tables, words),
                               interspersed == Interspersed::no ? OptionsEnd::at_first_argument : OptionsEnd::at_double_dash);
        parsed.help = line.help;
        parsed.arguments = std::move(line.arguments);
        for (auto& [rule, value] : line.options) {
            const Flag& flag = *parsed.flags.known_[rule];
            check(flag, rules[rule], value);
            if (*flag.deprecated) parsed.warnings.push_back(fmt::format("Flag --{} has been deprecated, {}", flag.name, flag.deprecated));
            const std::string_view name = *flag.same_as ? flag.same_as : flag.name;
            if (flag.kind == FlagKind::list)
                parsed.flags.add(name, std::move(value));
            else
                parsed.flags.set(name, std::move(value));
        }
    } catch (const Error& error) {
        throw UsageError(error.what());
    }
    return parsed;
}

}  // namespace grua::cli
