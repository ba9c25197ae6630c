// signatures.toml.
#include "base/error.hpp"
#include "base/files.hpp"
#include "registry/rules.hpp"
#include "registry/signatures.hpp"

#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include <optional>

namespace grua::registry {
namespace {

constexpr std::size_t file_limit = std::size_t{1} << 20U;

[[noreturn]] void refuse(const std::string& file, const toml::node& node, std::string_view why) {
    fail(ErrorKind::invalid_argument, "{}:{}: {}", file, node.source().begin.line, why);
}

std::optional<std::string> text_of(const std::string& path) {
    try {
        return read_file(path);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::not_found) throw;
        return std::nullopt;
    }
}

std::string text_of(const std::string& file, const toml::table& table, std::string_view key) {
    const toml::node* node = table.get(key);
    if (!node) return {};
    if (!node->is_string()) refuse(file, *node, fmt::format("{} has to be a text", key));
    return node->as_string()->get();
}

}  // namespace

SignaturePolicy::Rules SignaturePolicy::read(const std::string& file) {
    Rules out;
    const auto text = text_of(file);
    if (!text) return out;
    if (text->size() > file_limit) fail(ErrorKind::invalid_argument, "{}: larger than {} bytes", file, file_limit);
    toml::table table;
    try {
        table = toml::parse(*text, file);
    } catch (const toml::parse_error& error) {
        fail(ErrorKind::invalid_argument, "{}:{}: {}", file, error.source().begin.line, error.description());
    }
    for (const auto& [key, value] : table) {
        if (key.str() != "policy" || !value.is_array_of_tables()) refuse(file, value, "only [[policy]] tables are known");
        for (const toml::node& node : *value.as_array()) {
            const toml::table& each = *node.as_table();
            for (const auto& [name, member] : each) {
                if (name.str() != "prefix" && name.str() != "require" && name.str() != "keys") {
                    refuse(file, member, fmt::format("unknown key \"{}\"", name.str()));
                }
            }
            Rule rule{.prefix = text_of(file, each, "prefix"), .keys = {}, .refused = false};
            if (rule.prefix.empty()) refuse(file, node, "prefix is missing");
            const std::string require = text_of(file, each, "require");
            if (const toml::node* keys = each.get("keys")) {
                if (!keys->is_array()) refuse(file, *keys, "keys has to be a list of files");
                for (const toml::node& key_file : *keys->as_array()) {
                    if (!key_file.is_string()) refuse(file, key_file, "keys has to be a list of files");
                    rule.keys.push_back(read_public_key(key_file.as_string()->get()));
                }
            }
            if (require == "signature") {
                if (rule.keys.empty()) refuse(file, node, "a signature is required, and no key is given");
            } else if (require == "nothing" || require == "refuse") {
                if (!rule.keys.empty()) refuse(file, node, fmt::format("keys mean nothing where \"{}\" is required", require));
                rule.refused = require == "refuse";
            } else {
                refuse(file, node, "require has to be \"signature\", \"nothing\" or \"refuse\"");
            }
            out.push_back(std::move(rule));
        }
    }
    return out;
}

SignaturePolicy::SignaturePolicy(std::string file) : file_(std::move(file)) { reload(); }

void SignaturePolicy::reload() {
    auto rules = std::make_shared<const Rules>(read(file_));
    const std::scoped_lock lock{mutex_};
    rules_ = std::move(rules);
}

void SignaturePolicy::check(const Client& client, const oci::Reference& reference, const oci::Digest& digest, const Access& access) const {
    std::shared_ptr<const Rules> rules;
    {
        const std::scoped_lock lock{mutex_};
        rules = rules_;
    }
    const Rule* best = nullptr;
    for (const Rule& rule : *rules) {
        const bool matches = rule.prefix == "*" || has_prefix(reference.name(), rule.prefix);
        if (matches && (!best || rule.prefix.size() > best->prefix.size())) best = &rule;
    }
    if (!best) return;
    if (best->refused) fail(ErrorKind::forbidden, "{} is refused by {} (prefix {})", reference.familiar(), file_, best->prefix);
    if (!best->keys.empty()) verify_signature(client, reference, digest, best->keys, access);
}

}  // namespace grua::registry
