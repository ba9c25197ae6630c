// Command lines. The rules are pflag's, because scripts rely on them: --name=v and --name v, -n v, -nv and -n=v are the same, -it is
// -i -t, a switch takes a value only after '=', "--" ends the options, and they may stand between and behind the arguments. Where a
// program's own words follow, options end at its name. Whatever is not known is refused; nothing is skipped.
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace grua {

enum class OptionKind : std::uint8_t {
    boolean,  ///< true or false
    text,     ///< any text; the last one counts
    list,     ///< may be repeated
    integer,  ///< signed, 64 bit
    unsigned_integer,
    not_implemented,  ///< Known, and refused as such wherever it stands.
};

struct OptionRule {
    std::string_view name;  ///< Without dashes.
    char letter = 0;        ///< Its short form.
    OptionKind kind = OptionKind::text;
    bool hidden = false;  ///< Not offered for a name that nobody knows.
};

enum class OptionsEnd : std::uint8_t {
    at_double_dash,      ///< There alone.
    at_first_argument,   ///< run IMAGE PROGRAM…
    at_second_argument,  ///< exec ID PROGRAM…
};

struct CommandLine {
    struct Given {
        std::size_t rule;   ///< Index.
        std::string value;  ///< Checked; "true" for a switch without one.
    };
    std::vector<Given> options;  ///< In the order in which they were given.
    std::vector<std::string> arguments;
    bool help = false;  ///< --help or -h was met, where no rule has it; what stands behind it was not looked at.
};

/// Throws Error(invalid_argument) with pflag's texts, Error(not_implemented) for a rule of that kind.
CommandLine parse_command_line(std::span<const OptionRule> rules, std::span<const std::string> words,
                               OptionsEnd end = OptionsEnd::at_double_dash);

/// pflag's "invalid argument …", for whoever knows more about a value than its kind.
[[noreturn]] void refuse_option_value(const OptionRule& rule, std::string_view value, std::string_view why);

std::optional<bool> parse_bool(std::string_view text) noexcept;

/// What was given, by name and kind. Asking for a name that is not in the rules, or for another kind, is a mistake of the program.
class Options {
public:
    Options() = default;
    Options(std::span<const OptionRule> rules, CommandLine line);

    const std::vector<std::string>& arguments() const noexcept { return arguments_; }
    bool help() const noexcept { return help_; }

    bool given(std::string_view name) const;
    bool on(std::string_view name) const;
    std::string text(std::string_view name) const;  ///< Empty where it was not given.
    std::vector<std::string> list(std::string_view name) const;
    std::optional<std::int64_t> integer(std::string_view name) const;
    std::optional<std::uint64_t> unsigned_integer(std::string_view name) const;

private:
    const std::vector<std::string>& values(std::string_view name) const;
    std::vector<std::string> arguments_;
    std::map<std::string, std::vector<std::string>, std::less<>> values_;  // Every rule's.
    bool help_ = false;
};

/// Of the names, the one closest to `word` by edit distance (at most 2, and less than half of it); empty where none is near.
std::string nearest(std::string_view word, std::span<const std::string> names);

}  // namespace grua
