// Options of a command as data, with what the help, the completions and the values' kinds need beyond base/options.hpp, which parses.
#pragma once

#include "base/options.hpp"

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace grua::cli {

enum class FlagKind {
    boolean,  ///< true or false
    text,     ///< any text; the last one counts
    list,     ///< may be repeated
    integer,  ///< signed, 64 bit
    unsigned_integer,
    decimal,   ///< --cpus
    bytes,     ///< 64m
    duration,  ///< 1m30s
};

/// What the shell offers for a flag's value.
enum class Completes { nothing, files, containers, images, volumes, networks, registries, signals, words };

struct Flag {
    const char* name;  ///< Without dashes.
    char letter = 0;   ///< Its short form.
    FlagKind kind = FlagKind::text;
    /// What stands for the value in the help; the kind's own name where empty. "[=x]": it may be left out, and is empty then.
    const char* value = "";
    const char* help = "";
    const char* group = "";     ///< Heading in the help; "" is "Options".
    const char* fallback = "";  ///< Default as text.
    Completes completes = Completes::nothing;
    const char* words = "";  ///< Choices for Completes::words, separated by spaces.
    bool hidden = false;
    const char* deprecated = "";  ///< What to say when it is used.
    const char* same_as = "";     ///< A second name of another flag.
};

/// A wrong command line. Its text is complete; help_hint says whether "See 'grua x --help'" is added.
class UsageError : public std::exception {
public:
    explicit UsageError(std::string message, int status = 125) : message_(std::move(message)), status_(status) {}
    const char* what() const noexcept override { return message_.c_str(); }
    int status() const noexcept { return status_; }

private:
    std::string message_;
    int status_;
};

enum class Interspersed { yes, no };
struct Parsed;

/// What was given. A name that is not in the command's table is a mistake of the program.
class Flags {
public:
    bool given(std::string_view name) const { return values_.contains(name); }
    bool on(std::string_view name) const;
    std::string text(std::string_view name) const;
    std::vector<std::string> list(std::string_view name) const;
    std::int64_t integer(std::string_view name) const;
    std::uint64_t unsigned_integer(std::string_view name) const;
    std::int64_t bytes(std::string_view name) const;
    std::int64_t nanoseconds(std::string_view name) const;

    void set(std::string_view name, std::string value);  ///< Replaces.
    void add(std::string_view name, std::string value);

private:
    friend Parsed parse_flags(std::span<const std::span<const Flag>> tables, std::span<const std::string> words, Interspersed interspersed);
    const Flag& definition(std::string_view name) const;
    std::vector<const Flag*> known_;
    std::map<std::string, std::vector<std::string>, std::less<>> values_;
};

struct Parsed {
    Flags flags;
    std::vector<std::string> arguments;
    std::vector<std::string> warnings;  ///< About deprecated flags.
    bool help = false;
};

/// `tables` are looked through in order. Throws UsageError.
Parsed parse_flags(std::span<const std::span<const Flag>> tables, std::span<const std::string> words, Interspersed interspersed);

/// "string", "list", "bytes" …; for the help.
const char* value_name(const Flag& flag);

}  // namespace grua::cli
