// signatures.toml.
#include "base/error.hpp"
#include "registry/rules.hpp"
#include "registry/signatures.hpp"
#include "registry/toml_reader.hpp"

namespace grua::registry {

SignaturePolicy::Rules SignaturePolicy::read(const std::string& file) {
    Rules out;
    const auto text = read_if_there(file);
    if (!text) return out;
    read_toml(*text, file, [&](const TomlReader& top) {
        top.refuse_unknown({"policy"});
        top.each_table("policy", [&](const TomlReader& each) {
            each.refuse_unknown({"prefix", "require", "keys"});
            Rule rule{.prefix = each.text("prefix"), .keys = {}, .refused = false};
            if (rule.prefix.empty()) each.refuse(each.table(), "prefix is missing");
            for (const std::string& key : each.texts("keys")) rule.keys.push_back(read_public_key(key));
            const std::string require = each.text("require");
            if (require == "signature") {
                if (rule.keys.empty()) each.refuse(each.table(), "a signature is required, and no key is given");
            } else if (require == "nothing" || require == "refuse") {
                if (!rule.keys.empty()) each.refuse(each.table(), fmt::format("keys mean nothing where \"{}\" is required", require));
                rule.refused = require == "refuse";
            } else {
                each.refuse(each.table(), "require has to be \"signature\", \"nothing\" or \"refuse\"");
            }
            out.push_back(std::move(rule));
        });
    });
    return out;
}

SignaturePolicy::SignaturePolicy(std::string file) : file_(std::move(file)) { reload(); }

void SignaturePolicy::reload() {
    auto rules = std::make_shared<const Rules>(read(file_));
    const MutexLock lock{mutex_};
    rules_ = std::move(rules);
}

void SignaturePolicy::check(const Client& client, const oci::Reference& reference, const oci::Digest& digest, const Access& access) const {
    std::shared_ptr<const Rules> rules;
    {
        const MutexLock lock{mutex_};
        rules = rules_;
    }
    const Rule* best = nullptr;
    const std::string any_port = reference.domain().substr(0, reference.domain().rfind(':')) + "/" + reference.path();
    for (const Rule& rule : *rules) {
        // What is asked of a host is asked of it on every port; what is free is free on the one that is named.
        const bool is_free = !rule.refused && rule.keys.empty();
        const bool matches =
            rule.prefix == "*" || has_prefix(reference.name(), rule.prefix) || (!is_free && has_prefix(any_port, rule.prefix));
        if (matches && (!best || rule.prefix.size() > best->prefix.size())) best = &rule;
    }
    if (!best) return;
    if (best->refused) fail(ErrorKind::forbidden, "{} is refused by {} (prefix {})", reference.familiar(), file_, best->prefix);
    if (best->keys.empty()) return;
    while_doing(fmt::format("{} needs a signature by {} (prefix {})", reference.familiar(), file_, best->prefix),
                [&] { verify_signature(client, reference, digest, best->keys, access); });
}

}  // namespace grua::registry
