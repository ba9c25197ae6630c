#include "cli/flags.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "cli/units.hpp"

#include <algorithm>
#include <optional>
#include <utility>

namespace grua::cli {

namespace {

std::optional<bool> parse_bool(std::string_view text) {
    for (const auto* yes : {"1", "t", "T", "true", "TRUE", "True"}) {
        if (text == yes) return true;
    }
    for (const auto* no : {"0", "f", "F", "false", "FALSE", "False"}) {
        if (text == no) return false;
    }
    return std::nullopt;
}

std::string shown_name(const Flag& flag) {
    return flag.letter ? fmt::format("-{}, --{}", flag.letter, flag.name) : fmt::format("--{}", flag.name);
}

[[noreturn]] void invalid(const Flag& flag, std::string_view value, std::string_view why) {
    throw UsageError(fmt::format("invalid argument \"{}\" for \"{}\" flag: {}", value, shown_name(flag), why));
}

void check(const Flag& flag, const std::string& value) {
    const auto syntax = [&](const char* function) { return fmt::format("strconv.{}: parsing \"{}\": invalid syntax", function, value); };
    try {
        switch (flag.kind) {
            case FlagKind::boolean:
                if (!parse_bool(value)) invalid(flag, value, syntax("ParseBool"));
                break;
            case FlagKind::integer:
                if (!parse_int(value.starts_with('+') ? std::string_view(value).substr(1) : std::string_view(value))) {
                    invalid(flag, value, syntax("ParseInt"));
                }
                break;
            case FlagKind::unsigned_integer:
                if (!parse_uint(value)) invalid(flag, value, syntax("ParseUint"));
                break;
            case FlagKind::bytes:
                parse_size(value);
                break;
            case FlagKind::decimal:
                parse_cpus(value);
                break;
            case FlagKind::duration:
                parse_duration(value);
                break;
            case FlagKind::text:
            case FlagKind::list:
                break;
        }
    } catch (const Error& error) {
        invalid(flag, value, error.what());
    }
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = std::exchange(row[0], i);
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, substituted}));
        }
    }
    return row[b.size()];
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

std::string nearest(std::string_view word, std::span<const std::string> names) {
    std::size_t best = std::min<std::size_t>(2, word.size() / 2) + 1;
    std::string found;
    for (const std::string& name : names) {
        const bool longer = word.size() >= 3 && name.starts_with(word);
        const std::size_t distance = longer ? 1 : edit_distance(word, name);
        if (distance < best) {
            best = distance;
            found = name;
        }
    }
    return found;
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

class FlagParser {
public:
    FlagParser(std::span<const std::span<const Flag>> tables, Parsed& out) : out_(out) {
        for (const auto& table : tables) {
            for (const Flag& flag : table) out_.flags.known_.push_back(&flag);
        }
    }

    void parse(std::span<const std::string> words, Interspersed interspersed) {
        for (std::size_t i = 0; i < words.size(); ++i) {
            const std::string& word = words[i];
            if (word == "--") {
                out_.arguments.insert(out_.arguments.end(), words.begin() + static_cast<std::ptrdiff_t>(i) + 1, words.end());
                return;
            }
            if (word.size() < 2 || word[0] != '-') {
                if (interspersed == Interspersed::no) {
                    out_.arguments.insert(out_.arguments.end(), words.begin() + static_cast<std::ptrdiff_t>(i), words.end());
                    return;
                }
                out_.arguments.push_back(word);
                continue;
            }
            if (word.starts_with("--"))
                parse_long(words, i);
            else
                parse_short(words, i);
            if (out_.help) return;
        }
    }

private:
    void parse_long(std::span<const std::string> words, std::size_t& i) {
        const std::string_view body = std::string_view(words[i]).substr(2);
        const std::size_t equals = body.find('=');
        const std::string_view name = body.substr(0, equals);
        if (name == "help") {
            out_.help = true;
            return;
        }
        const Flag* flag = find(name);
        if (!flag) unknown_long(name);
        if (equals != std::string_view::npos) return take(*flag, std::string(body.substr(equals + 1)));
        if (flag->kind == FlagKind::boolean) return take(*flag, "true");
        if (i + 1 >= words.size()) throw UsageError(fmt::format("flag needs an argument: --{}", name));
        take(*flag, words[++i]);
    }

    void parse_short(std::span<const std::string> words, std::size_t& i) {
        const std::string& word = words[i];
        for (std::size_t at = 1; at < word.size(); ++at) {
            const char letter = word[at];
            const auto found = std::ranges::find_if(out_.flags.known_, [&](const Flag* each) { return each->letter == letter; });
            if (found == out_.flags.known_.end()) {
                if (letter == 'h') {
                    out_.help = true;
                    return;
                }
                throw UsageError(fmt::format("unknown shorthand flag: '{}' in {}", letter, word));
            }
            const Flag& flag = **found;
            const bool has_equals = at + 1 < word.size() && word[at + 1] == '=';
            if (flag.kind == FlagKind::boolean && !has_equals) {
                take(flag, "true");
                continue;
            }
            if (has_equals) return take(flag, word.substr(at + 2));
            if (at + 1 < word.size()) return take(flag, word.substr(at + 1));
            if (i + 1 >= words.size()) throw UsageError(fmt::format("flag needs an argument: '{}' in {}", letter, word));
            return take(flag, words[++i]);
        }
    }

    const Flag* find(std::string_view name) const {
        const auto found = std::ranges::find_if(out_.flags.known_, [&](const Flag* flag) { return flag->name == name; });
        return found == out_.flags.known_.end() ? nullptr : *found;
    }

    [[noreturn]] void unknown_long(std::string_view name) const {
        std::vector<std::string> names;
        for (const Flag* flag : out_.flags.known_) {
            if (!flag->hidden) names.emplace_back(flag->name);
        }
        const std::string near = nearest(name, names);
        throw UsageError(near.empty() ? fmt::format("unknown flag: --{}", name)
                                      : fmt::format("unknown flag: --{}\n\nDid you mean --{}?", name, near));
    }

    void take(const Flag& flag, std::string value) {
        check(flag, value);
        if (*flag.deprecated) out_.warnings.push_back(fmt::format("Flag --{} has been deprecated, {}", flag.name, flag.deprecated));
        const std::string_view name = *flag.same_as ? flag.same_as : flag.name;
        if (flag.kind == FlagKind::list)
            out_.flags.add(name, std::move(value));
        else
            out_.flags.set(name, std::move(value));
    }

    Parsed& out_;
};

Parsed parse_flags(std::span<const std::span<const Flag>> tables, std::span<const std::string> words, Interspersed interspersed) {
    Parsed parsed;
    FlagParser(tables, parsed).parse(words, interspersed);
    return parsed;
}

}  // namespace grua::cli
