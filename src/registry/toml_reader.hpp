// Configuration files in TOML. Only files that include this see the parser.
#pragma once

#include "base/error.hpp"

#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace grua::registry {

/// A table of a file, for errors that say where.
class TomlReader {
public:
    static constexpr std::size_t tables_limit = 10'000;

    TomlReader(const toml::table& table, const std::string& file) : table_(&table), file_(&file) {}

    [[noreturn]] void refuse(const toml::node& node, const std::string& why) const {
        fail(ErrorKind::invalid_argument, "{}:{}: {}", *file_, node.source().begin.line, why);
    }
    void refuse_unknown(std::initializer_list<std::string_view> known) const {
        for (const auto& [key, value] : *table_) {
            if (std::ranges::find(known, key.str()) == known.end()) refuse(value, fmt::format("unknown key \"{}\"", key.str()));
        }
    }
    std::string text(std::string_view key) const {
        const toml::node* node = table_->get(key);
        if (!node) return {};
        if (!node->is_string()) refuse(*node, fmt::format("{} has to be a text", key));
        return node->as_string()->get();
    }
    bool flag(std::string_view key, bool otherwise = false) const {
        const toml::node* node = table_->get(key);
        if (!node) return otherwise;
        if (!node->is_boolean()) refuse(*node, fmt::format("{} has to be true or false", key));
        return node->as_boolean()->get();
    }
    /// A text or a list of texts.
    std::vector<std::string> texts(std::string_view key) const {
        const toml::node* node = table_->get(key);
        std::vector<std::string> out;
        if (!node) return out;
        if (node->is_string()) return {node->as_string()->get()};
        if (!node->is_array()) refuse(*node, fmt::format("{} has to be a list of texts", key));
        for (const toml::node& each : *node->as_array()) {
            if (!each.is_string()) refuse(each, fmt::format("{} has to be a list of texts", key));
            out.push_back(each.as_string()->get());
        }
        return out;
    }
    template <typename Body>
    void each_table(std::string_view key, Body&& body) const {
        const toml::node* node = table_->get(key);
        if (!node) return;
        const toml::array* list = node->as_array();
        if (!list || list->size() > tables_limit) refuse(*node, fmt::format("[[{}]] has to be a list of tables", key));
        for (const toml::node& each : *list) {
            if (!each.is_table()) refuse(each, fmt::format("[[{}]] has to be a list of tables", key));
            body(TomlReader{*each.as_table(), *file_});
        }
    }
    const toml::table& table() const noexcept { return *table_; }
    const std::string& file() const noexcept { return *file_; }

private:
    const toml::table* table_;
    const std::string* file_;
};

template <typename Body>
auto read_toml(std::string_view text, const std::string& file, Body&& body) {
    toml::table table;
    try {
        table = toml::parse(text, file);
    } catch (const toml::parse_error& error) {
        fail(ErrorKind::invalid_argument, "{}:{}: {}", file, error.source().begin.line, error.description());
    }
    return body(TomlReader{table, file});
}

}  // namespace grua::registry
