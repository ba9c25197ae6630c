// The lines of a Dockerfile as nodes: one for each instruction, with its words not yet understood.
//
// A line that ends in the escape character goes on in the next; comments between are left out, empty lines too, which lint complains about.
// RUN, COPY and ADD (also behind ONBUILD) may have heredocs: `<<EOF` with its lines up to one that is EOF.
#pragma once

#include "build/dockerfile/source.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build::dockerfile {

/// BuildKit's: a longer line is refused.
inline constexpr std::size_t line_limit = 65535;

struct Heredoc {
    std::string name;
    unsigned descriptor = 0;  ///< The digits before <<.
    bool expand = true;       ///< False where a part of the name is quoted.
    bool strip_tabs = false;  ///< <<-: see without_tabs().
    std::string content;      ///< As it stands in the file.
};

/// Of NAME=VALUE, or of the older NAME VALUE.
struct KeyValue {
    std::string key;
    std::string value;
    bool legacy = false;  ///< Written without the sign.

    friend bool operator==(const KeyValue&, const KeyValue&) = default;
};

struct Node {
    std::string keyword;                 ///< As it is written.
    std::string original;                ///< Its lines in one, without the escape characters that joined them.
    LineRange lines;                     ///< With its heredocs.
    std::vector<std::string> flags;      ///< "--name=value", without quotes.
    std::vector<std::string> arguments;  ///< What is behind the flags: one text, words, or the members of an array, as the keyword has it.
    std::vector<KeyValue> pairs;         ///< Of ENV and LABEL, in place of arguments.
    bool is_json = false;                ///< The arguments were an array of JSON.
    std::vector<Heredoc> heredocs;
    std::vector<std::string> comments;  ///< Right above it, without # and blanks.
    std::vector<Node> trigger;          ///< Of ONBUILD, one.
};

struct ParsedFile {
    char escape = '\\';
    std::vector<Node> nodes;
    std::vector<LineRange> empty_continuations;  ///< The last line of each instruction with an empty line in it.
};

/// Throws SourceError.
ParsedFile parse(std::string_view source);

/// `<<EOF`, `3<<-"EOF"`; nothing for another word. Throws Error(invalid_argument) for a quote that is not closed.
std::optional<Heredoc> parse_heredoc(std::string_view word);

/// Without the tabs at the front of each line.
std::string without_tabs(std::string_view content);

}  // namespace grua::build::dockerfile
