// The three files in TOML.
#include "base/error.hpp"
#include "base/files.hpp"
#include "base/text.hpp"
#include "registry/rules.hpp"
#include "registry/toml_reader.hpp"

#include <algorithm>

namespace grua::registry {
namespace {

constexpr std::size_t secret_limit = 64 * 1024;

Location location_of(const TomlReader& reader, std::string_view text) {
    try {
        return parse_location(text);
    } catch (const Error& error) {
        reader.refuse(reader.table(), error.what());
    }
}

std::map<std::string, std::string> read_aliases(const TomlReader& reader) {
    std::map<std::string, std::string> out;
    const toml::node* node = reader.table().get("aliases");
    if (!node) return out;
    if (!node->is_table()) reader.refuse(*node, "[aliases] has to be a table of names");
    for (const auto& [key, value] : *node->as_table()) {
        if (!value.is_string()) reader.refuse(value, fmt::format("the alias {} has to be a name", key.str()));
        const std::string& target = value.as_string()->get();
        // containers' files end an alias with an empty text.
        if (!target.empty()) out.emplace(key.str(), target);
    }
    return out;
}

void read_secrets(const TomlReader& reader, Location& location) {
    location.credentials.username = reader.text("username");
    location.credentials.password = reader.text("password");
    location.credentials.identity_token = reader.text("identity-token");
    if (const std::string path = reader.text("password-file"); !path.empty()) {
        location.credentials.password = trim(read_file(path, secret_limit));
    }
    location.tls.authorities = reader.texts("ca");
    const std::string certificate = reader.text("client-certificate");
    const std::string key = reader.text("client-key");
    if (!certificate.empty()) location.tls.certificates.emplace_back(certificate, key);
    location.headers = reader.texts("headers");
}

PullBy pull_by(const TomlReader& reader, std::string_view key) {
    const std::string text = reader.text(key);
    if (text.empty() || text == "all") return PullBy::all;
    if (text == "digest-only") return PullBy::digest;
    if (text == "tag-only") return PullBy::tag;
    reader.refuse(reader.table(), fmt::format("{} has to be \"all\", \"digest-only\" or \"tag-only\"", key));
}

Rule read_rule(const TomlReader& reader, bool ours) {
    Rule rule;
    rule.source = reader.file();
    rule.prefix = reader.text("prefix");
    const std::string location = reader.text("location");
    if (rule.prefix.empty()) rule.prefix = location;
    if (rule.prefix.empty()) reader.refuse(reader.table(), "a [[registry]] needs a prefix");
    rule.blocked = reader.flag("blocked");
    const bool insecure = reader.flag("insecure");
    const bool has_more =
        ours && (reader.table().contains("username") || reader.table().contains("identity-token") || reader.table().contains("ca") ||
                 reader.table().contains("client-certificate") || reader.table().contains("headers"));
    const bool wildcard = rule.prefix.starts_with("*.");
    if (!rule.blocked && (!location.empty() || (!wildcard && (insecure || has_more)))) {
        rule.location = location_of(reader, location.empty() ? rule.prefix : location);
        rule.location->insecure |= insecure;
    }
    const bool digests_only = reader.flag("mirror-by-digest-only");
    if (ours) {
        rule.mirrors_only = reader.flag("mirrors-only");
        if (rule.location) read_secrets(reader, *rule.location);
    }
    reader.each_table("mirror", [&](const TomlReader& mirror) {
        if (ours) {
            mirror.refuse_unknown({"location", "insecure", "pull", "username", "password", "password-file", "identity-token", "ca",
                                   "client-certificate", "client-key", "headers"});
        }
        Location& to = rule.mirrors.emplace_back(location_of(mirror, mirror.text("location")));
        to.insecure |= mirror.flag("insecure");
        to.by = pull_by(mirror, ours ? "pull" : "pull-from-mirror");
        if (digests_only) to.by = PullBy::digest;
        to.push = false;
        if (ours) read_secrets(mirror, to);
    });
    return rule;
}

RuleFile read_rules(const TomlReader& reader, bool ours) {
    RuleFile out;
    if (ours) reader.refuse_unknown({"registry", "aliases", "limits"});
    reader.each_table("registry", [&](const TomlReader& each) {
        if (ours) {
            each.refuse_unknown({"prefix", "location", "blocked", "insecure", "mirrors-only", "mirror-by-digest-only", "mirror", "username",
                                 "password", "password-file", "identity-token", "ca", "client-certificate", "client-key", "headers"});
        }
        out.rules.push_back(read_rule(each, ours));
    });
    out.aliases = read_aliases(reader);
    return out;
}

Limits read_limits(const TomlReader& reader, Limits limits) {
    const toml::node* node = reader.table().get("limits");
    if (!node) return limits;
    if (!node->is_table()) reader.refuse(*node, "[limits] has to be a table of numbers");
    const TomlReader table{*node->as_table(), reader.file()};
    table.refuse_unknown({"connect-seconds", "stall-seconds", "stall-bytes", "attempts", "retry-after-seconds", "connections"});
    const auto number = [&](std::string_view key, std::int64_t otherwise, std::int64_t most) {
        const toml::node* value = table.table().get(key);
        if (!value) return otherwise;
        if (!value->is_integer() || value->as_integer()->get() < 1 || value->as_integer()->get() > most) {
            table.refuse(*value, fmt::format("{} has to be a number from 1 to {}", key, most));
        }
        return value->as_integer()->get();
    };
    limits.connect = std::chrono::seconds{number("connect-seconds", std::chrono::ceil<std::chrono::seconds>(limits.connect).count(), 3600)};
    limits.low_speed = std::chrono::seconds{number("stall-seconds", limits.low_speed.count(), 3600)};
    limits.low_speed_bytes = static_cast<std::uint64_t>(number("stall-bytes", static_cast<std::int64_t>(limits.low_speed_bytes), 1 << 30));
    limits.attempts = static_cast<unsigned>(number("attempts", limits.attempts, 100));
    limits.retry_after_limit = std::chrono::seconds{number("retry-after-seconds", limits.retry_after_limit.count(), 86400)};
    limits.ranges = static_cast<unsigned>(number("connections", limits.ranges, 6));
    return limits;
}

std::string beside(const std::string& file, const std::string& path) {
    return path.starts_with('/') ? path : file.substr(0, file.rfind('/') + 1) + path;
}

/// What a host of hosts.toml may have; the file's top level has the same for the server.
void read_containerd_host(const TomlReader& reader, Location& location) {
    for (const std::string& each : reader.texts("ca")) location.tls.authorities.push_back(beside(reader.file(), each));
    if (const toml::node* client = reader.table().get("client")) {
        if (client->is_string()) {
            location.tls.certificates.emplace_back(beside(reader.file(), client->as_string()->get()), "");
        } else if (const toml::array* list = client->as_array()) {
            for (const toml::node& each : *list) {
                const toml::array* pair = each.as_array();
                const std::string certificate = pair ? pair->at(0).value_or(std::string{}) : each.value_or(std::string{});
                const std::string key = pair && pair->size() > 1 ? pair->at(1).value_or(std::string{}) : std::string{};
                if (certificate.empty()) reader.refuse(each, "client has to name certificates and keys");
                location.tls.certificates.emplace_back(beside(reader.file(), certificate), key.empty() ? key : beside(reader.file(), key));
            }
        }
    }
    location.tls.skip_verify = reader.flag("skip_verify");
    if (reader.table().contains("capabilities")) {
        const std::vector<std::string> can = reader.texts("capabilities");
        const auto has = [&](std::string_view what) { return std::ranges::find(can, what) != can.end(); };
        location.pull = has("pull");
        location.resolve = has("resolve");
        location.push = has("push");
    }
    // "mirror.local/v2/hub" is the API's own path there; what comes before the repository is not a part of its name.
    if (!location.path.empty()) {
        location.api = "/" + std::exchange(location.path, {});
        if (!reader.flag("override_path") && !location.api.ends_with("/v2")) location.api += "/v2";
    }
    if (const toml::node* header = reader.table().get("header"); header && header->is_table()) {
        const TomlReader headers{*header->as_table(), reader.file()};
        for (const auto& [key, value] : headers.table()) {
            for (const std::string& each : headers.texts(key.str())) location.headers.push_back(fmt::format("{}: {}", key.str(), each));
        }
    }
}

}  // namespace

RuleFile parse_registries_toml(std::string_view text, const std::string& file, const Limits& otherwise) {
    return read_toml(text, file, [&](const TomlReader& reader) {
        RuleFile out = read_rules(reader, true);
        out.limits = read_limits(reader, otherwise);
        return out;
    });
}

RuleFile parse_registries_conf(std::string_view text, const std::string& file) {
    return read_toml(text, file, [](const TomlReader& reader) { return read_rules(reader, false); });
}

Rule parse_hosts_toml(std::string_view text, const std::string& file, const std::string& host) {
    return read_toml(text, file, [&](const TomlReader& reader) {
        Rule rule;
        rule.prefix = host;
        rule.source = file;
        const std::string server = reader.text("server");
        if (!server.empty() || host != "_default") {
            rule.location = location_of(reader, !server.empty() ? server : host == hub_domain ? std::string(hub_registry) : host);
            read_containerd_host(reader, *rule.location);
            // Without a server line the registry's own host is asked last, and it needs no ns.
            rule.location->namespace_query = rule.location->authority != host && rule.location->authority != hub_registry;
        }
        const toml::node* hosts = reader.table().get("host");
        if (!hosts) return rule;
        if (!hosts->is_table()) reader.refuse(*hosts, "[host.\"https://…\"] has to be a table");
        // A TOML table has no order, the file has.
        std::vector<std::pair<unsigned, Location>> ordered;
        for (const auto& [key, value] : *hosts->as_table()) {
            if (!value.is_table()) reader.refuse(value, "a host has to be a table");
            const TomlReader each{*value.as_table(), file};
            Location location = location_of(each, key.str());
            read_containerd_host(each, location);
            location.namespace_query = true;
            ordered.emplace_back(value.source().begin.line, std::move(location));
        }
        std::ranges::sort(ordered, {}, &std::pair<unsigned, Location>::first);
        for (auto& [line, location] : ordered) rule.mirrors.push_back(std::move(location));
        return rule;
    });
}

}  // namespace grua::registry
