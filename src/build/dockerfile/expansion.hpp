// Words with variables in them: quotes, the escape character, $x, ${x} and its modifiers, as BuildKit's shell words have it.
//
//     ${x:-word} ${x-word} ${x:+word} ${x+word} ${x:?text} ${x?text}    a word, or an error, where x is unset (or empty, with the colon)
//     ${x#p} ${x##p} ${x%p} ${x%%p}                                     x without what p matches at its front or end, shortest or longest
//     ${x/p/r} ${x//p/r}                                                x with the first match of p, or all of them, replaced
//
// A pattern has * and ?, which \ makes plain. A word of a modifier has all of this in it again.
#pragma once

#include "build/dockerfile/environment.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build::dockerfile {

/// ${a:-${b:-…}} nests no deeper.
inline constexpr int substitution_depth_limit = 64;
/// A pattern of ${x#p} and the like is no longer.
inline constexpr std::size_t substitution_pattern_limit = 4096;
/// What one Expander puts in for variables, together: ENV a=$a$a doubles with each line.
inline constexpr std::size_t expansion_limit = std::size_t{64} << 20;

struct ExpansionRules {
    char escape = '\\';
    bool keep_quotes = false;   ///< They stay in the result.
    bool keep_escapes = false;  ///< So does the escape character.
    bool quotes_plain = false;  ///< Quotes mean nothing: the text of a heredoc.
    bool keep_unset = false;    ///< A variable that is not set stays as it was written.
};

struct Expanded {
    std::string text;
    std::vector<std::string> words;    ///< The text cut at blanks that are neither quoted nor escaped.
    std::vector<std::string> used;     ///< Variables that were looked up and set, each once, in their order.
    std::vector<std::string> missing;  ///< Those that were not set, with a default or without.
};

/// Expands the words of one Dockerfile.
class Expander {
public:
    explicit Expander(ExpansionRules rules = {}) : rules_(rules) {}

    /// Throws Error(invalid_argument), `failed to process "…": …`. `missing`: Expanded::missing, also where it throws.
    Expanded expand(std::string_view text, const Environment& environment, std::vector<std::string>* missing = nullptr);

    const ExpansionRules& rules() const noexcept { return rules_; }

private:
    ExpansionRules rules_;
    std::size_t spent_ = 0;
};

}  // namespace grua::build::dockerfile
