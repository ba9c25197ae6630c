// Parser directives: comments at the top of a Dockerfile, `# syntax=…`, `# escape=…`, `# check=…`.
//
// They stand before anything else: the first line that is no known directive, a comment or an empty line included, ends them.
#pragma once

#include "build/dockerfile/source.hpp"

#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace grua::build::dockerfile {

struct Directive {
    std::string name;   ///< In lower case: "syntax", "escape" or "check".
    std::string value;  ///< Without blanks around it.
    int line = 0;

    std::string first_word() const { return value.substr(0, value.find(' ')); }  ///< An image has arguments behind it.
};

/// Takes the lines of a file in their order.
class DirectiveReader {
public:
    /// `comment`: what such a line begins with. `line`: how many lines there were before the first.
    explicit DirectiveReader(std::string_view comment = "#", int line = 0) : comment_(comment), line_(line) {}

    /// Nothing where the line is no directive. Throws SourceError for one that has been there.
    std::optional<Directive> read(std::string_view line);

    bool done() const noexcept { return done_; }

private:
    std::string comment_;
    int line_;
    bool done_ = false;
    std::set<std::string> seen_;
};

/// The directive `name` of a file. A first line that begins with #! is passed over.
std::optional<Directive> find_directive(std::string_view source, std::string_view name);

/// The `syntax` of a file in any language: `# syntax=`, `// syntax=`, or a JSON object's member.
std::optional<Directive> detect_syntax(std::string_view source);

/// Without a byte order mark of UTF-8.
std::string_view without_mark(std::string_view source) noexcept;

}  // namespace grua::build::dockerfile
