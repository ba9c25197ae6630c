// Rows of a list, as `--format` wants them.
#pragma once

#include "cli/template.hpp"

#include <functional>
#include <span>
#include <string>
#include <vector>

namespace grua::cli {

struct Heading {
    const char* field;
    const char* title;
};

struct Listing {
    std::string default_table;  ///< "{{.ID}}\t{{.Names}}", without "table ".
    std::span<const Heading> headings;
    /// {{.Label "x"}} and the like, for row number `row`.
    std::function<std::optional<Value>(std::size_t row, std::string_view name, std::span<const Value> arguments)> method;
};

/// Rows are objects with the members that templates name. `format` is the user's: empty, "table", "table …", "json" or a template.
std::string render_rows(const Listing& listing, const std::string& format, const std::vector<Value>& rows);

/// The template in `format`, with docker's short forms: "json", and \t and \n written out.
std::string expand_format(std::string_view format);

/// True where the rows will not need a member that costs the daemon something, as Size.
bool format_mentions(const std::string& format, std::string_view field);

/// `{{…}}` over one document.
std::string render_document(const std::string& format, const Value& document);

}  // namespace grua::cli
