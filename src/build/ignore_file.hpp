// .dockerignore: which paths of a build's context are left out.
//
// Each line is a pattern as Docker has them: Go's filepath.Match within one name, and ** for any number of names. The last pattern that
// matches a path, or a folder above it, decides; one that begins with ! takes the path back in. Matching takes time in proportion to the
// length of the path times that of the pattern at most, whatever they are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

/// More patterns, or a longer line, are refused.
inline constexpr std::size_t ignore_pattern_limit = 100'000;
inline constexpr std::size_t ignore_line_limit = 65'536;

/// One pattern of a path.
class PathPattern {
public:
    /// `text` without its '!', cleaned. Throws Error(invalid_argument), "syntax error in pattern".
    explicit PathPattern(std::string_view text);

    const std::string& text() const noexcept { return text_; }

    /// A path has slashes between its names, none at its front or end.
    bool matches(std::string_view path) const { return run(path).whole; }

    /// True where it matches the path or a folder above it.
    bool matches_or_above(std::string_view path) const;

    /// True where it may match something below `folder`.
    bool may_match_below(std::string_view folder) const { return run(folder).goes_on; }

private:
    enum class Kind : std::uint8_t { literal, any, star, set, deep, deep_loop, rest };
    struct Range {
        char32_t first;
        char32_t last;
    };
    struct Token {
        Kind kind = Kind::literal;
        bool negated = false;    ///< Of a set.
        char32_t character = 0;  ///< Of a literal.
        std::vector<Range> ranges;
    };
    struct Outcome {
        bool whole = false;    ///< The path matches.
        bool above = false;    ///< A folder above it does.
        bool goes_on = false;  ///< With a slash behind it, it is the front of what may match.
    };

    void compile();
    void compile_set(std::size_t& at);
    static bool accepts(const Token& token, char32_t character);
    Outcome run(std::string_view path) const;
    Outcome run_literal(std::string_view path) const;

    std::string text_;
    std::vector<Token> tokens_;
    bool is_literal_ = false;  ///< It has nothing special; there are no tokens.
};

class IgnoreFile {
public:
    IgnoreFile() = default;

    /// Of the bytes of a file. Throws Error(invalid_argument) with the line.
    static IgnoreFile parse(std::string_view source);

    /// Of patterns as they are in the file's lines.
    explicit IgnoreFile(const std::vector<std::string>& patterns);

    struct Rule {
        PathPattern pattern;
        bool exception = false;  ///< It begins with '!'.
    };
    const std::vector<Rule>& rules() const noexcept { return rules_; }
    bool empty() const noexcept { return rules_.empty(); }
    bool has_exceptions() const noexcept { return has_exceptions_; }

    /// Which rules match a folder or one above it. A walk hands it from a folder to what is in it.
    class Above {
    public:
        Above() = default;

    private:
        friend class IgnoreFile;
        std::vector<bool> matched_;
    };

    struct Answer {
        bool ignored = false;
        Above above;  ///< For what is in it, where it is a folder.
    };

    /// Of a path below the context, with slashes and none at its front. `above` is its folder's; nothing at the top.
    ///
    /// As in Docker's walk, a rule is not looked at where it would change nothing for the folder itself, and does then not hold for what is
    /// in the folder: after "a/b", a "!a" takes back no a/b. ignores() has no such exception.
    Answer match(std::string_view path, const Above& above) const;

    /// Without a walk: the last rule that matches the path or a folder above it decides.
    bool ignores(std::string_view path) const;

    /// Whether an ignored folder must be walked all the same, since an exception may take back something in it.
    bool may_take_back_below(std::string_view folder) const;

private:
    void add(std::string_view pattern);

    std::vector<Rule> rules_;
    bool has_exceptions_ = false;
};

/// Go's filepath.Clean.
std::string clean_path(std::string_view path);

}  // namespace grua::build
