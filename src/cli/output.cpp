#include "cli/output.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "cli/table.hpp"

#include <algorithm>
#include <array>
#include <boost/json.hpp>

namespace grua::cli {

namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
    for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) text.replace(at, from.size(), to);
}

/// Docker writes a row's members in the order of their names.
Value sorted_members(const Value& row) {
    std::vector<std::string> names;
    for (const auto& [name, value] : row.as_object()) names.emplace_back(name);
    std::ranges::sort(names);
    boost::json::object out;
    for (const std::string& name : names) out[name] = row.as_object().at(name);
    return out;
}

}  // namespace

std::string expand_format(std::string_view format) {
    if (format == "json") return "{{json .}}";
    std::string out(format);
    replace_all(out, "\\t", "\t");
    replace_all(out, "\\n", "\n");
    return out;
}

bool format_mentions(const std::string& format, std::string_view field) {
    if (format.empty() || format == "table" || format == "json") return false;
    return Template::parse(expand_format(format)).mentions(field);
}

std::string render_rows(const Listing& listing, const std::string& format, const std::vector<Value>& rows) {
    std::string text = format.empty() ? "table" : expand_format(format);
    bool table = false;
    if (text == "table") {
        table = true;
        text = listing.default_table;
    } else if (text.starts_with("table ")) {
        table = true;
        text = std::string(trim(text.substr(6)));
    }
    const Template row_template = Template::parse(text);
    std::string out;
    if (table) {
        boost::json::object titles;
        for (const Heading& heading : listing.headings) titles[heading.field] = heading.title;
        TemplateOptions options{.heading = true};
        options.method = [](const Value&, std::string_view name, std::span<const Value> arguments) -> std::optional<Value> {
            if (name != "Label" || arguments.empty()) return std::nullopt;
            // Docker's heading for a label is what stands behind its last dot.
            std::string label = print_value(arguments[0]);
            label = label.substr(label.rfind('.') + 1);
            for (char& c : label) c = c == '-' || c == '_' ? ' ' : c;
            return Value(label);
        };
        out += row_template.run(titles, options) + "\n";
    }
    for (std::size_t i = 0; i < rows.size(); ++i) {
        TemplateOptions options;
        if (listing.method) {
            options.method = [&, i](const Value&, std::string_view name, std::span<const Value> arguments) {
                return listing.method(i, name, arguments);
            };
        }
        out += row_template.run(sorted_members(rows[i]), options) + "\n";
    }
    return table ? align_columns(out) : out;
}

std::string render_document(const std::string& format, const Value& document) {
    // What Docker's types have and its JSON leaves out where it is empty.
    static constexpr std::array optional{"Health",      "Healthcheck",     "ImageManifestDescriptor",
                                         "SizeRw",      "SizeRootFs",      "StopTimeout",
                                         "StopSignal",  "Annotations",     "Tmpfs",
                                         "Sysctls",     "StorageOpt",      "Mounts",
                                         "Init",        "ExposedPorts",    "Shell",
                                         "ArgsEscaped", "NetworkDisabled", "MacAddress",
                                         "Labels",      "Entrypoint",      "Cmd",
                                         "Env",         "Platform",        "Client",
                                         "Server",      "GraphDriver",     "Storage",
                                         "Metadata",    "Descriptor",      "Manifests",
                                         "Identity"};
    TemplateOptions options;
    options.may_be_missing = [](std::string_view name) { return std::ranges::find(optional, name) != optional.end(); };
    return Template::parse(expand_format(format)).run(document, options);
}

}  // namespace grua::cli
