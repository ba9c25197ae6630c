#include "build/cache_requests.hpp"

#include "base/text.hpp"
#include "base/utf8.hpp"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <set>

namespace grua::build {
namespace {

constexpr std::size_t json_limit = std::size_t{1} << 20U;
constexpr std::size_t mounts_limit = 64;
constexpr std::array others{"gha", "s3", "azblob"};

using Words = std::map<std::string, std::string>;

[[noreturn]] void refuse_type(std::string_view type) {
    if (std::ranges::find(others, type) != others.end()) fail(ErrorKind::not_implemented, "not implemented: cache type {}", type);
    fail(ErrorKind::not_found, "there is no such cache; there are inline, registry and local");
}

RegistryCache take_registry(Attributes& attributes) {
    const std::string name = attributes.take("ref").value_or("");
    if (name.empty()) fail(ErrorKind::invalid_argument, "missing ref");
    return {.reference = oci::Reference::parse(name).with_default_tag(),
            .insecure = attributes.take_bool("registry.insecure", Attributes::Empty::is_wrong).value_or(false)};
}

std::string take_folder(Attributes& attributes, std::string_view name) {
    std::string out = attributes.take(name).value_or("");
    if (out.empty()) fail(ErrorKind::invalid_argument, "{} is missing", name);
    return out;
}

CacheExport::Mode parse_mode(std::string_view text) {
    if (text.empty() || text == "min") return CacheExport::Mode::min;
    if (text == "max") return CacheExport::Mode::max;
    fail(ErrorKind::invalid_argument, "mode: {:?} is neither min nor max", to_valid_utf8(text));
}

/// Each once.
std::vector<std::string> take_mounts(Attributes& attributes) {
    std::vector<std::string> out;
    for (std::string& each : split(attributes.take("mounts").value_or(""), ','))
        if (!each.empty() && std::ranges::find(out, each) == out.end()) out.push_back(std::move(each));
    if (out.size() > mounts_limit) fail(ErrorKind::invalid_argument, "mounts: more than {}", mounts_limit);
    return out;
}

CacheExport parse_export(const std::string& type, const Words& words) {
    return while_doing(fmt::format("cache export {:?}", to_valid_utf8(type)), [&] {
        Attributes attributes(words);
        CacheExport out{.type = type};
        if (type == "inline") {
            out.where = InlineCache{};
        } else if (type == "registry") {
            out.where = take_registry(attributes);
        } else if (type == "local") {
            out.where = LocalCache{.folder = take_folder(attributes, "dest"), .digest = std::nullopt};
            // The client names it in its own index, and tidies up there.
            attributes.take("tag");
            attributes.take("reset");
        } else {
            refuse_type(type);
        }
        out.mode = parse_mode(attributes.take("mode").value_or(""));
        out.ignore_error = attributes.take_bool("ignore-error", Attributes::Empty::is_wrong).value_or(false);
        if (type != "inline") {
            out.layers = take_layers(attributes);
            out.oci_types = attributes.take_bool("oci-mediatypes", Attributes::Empty::is_wrong).value_or(true);
            out.mounts = take_mounts(attributes);
            out.image_manifest = attributes.take_bool("image-manifest", Attributes::Empty::is_wrong).value_or(out.oci_types);
            if (out.image_manifest && !out.oci_types)
                fail(ErrorKind::invalid_argument,
                     "invalid configuration for remote cache, OCI mediatypes are required for image-manifest cache format");
            if (!out.oci_types && out.layers.compression == LayerCompression::zstd)
                fail(ErrorKind::invalid_argument, "compression=zstd conflicts with oci-mediatypes=false");
        }
        attributes.refuse_rest();
        return out;
    });
}

CacheImport parse_import(const std::string& type, const Words& words) {
    return while_doing(fmt::format("cache import {:?}", to_valid_utf8(type)), [&] {
        Attributes attributes(words);
        const auto done = [&](auto where) {
            attributes.refuse_rest();
            return CacheImport{.type = type, .where = std::move(where)};
        };
        if (type == "registry") return done(take_registry(attributes));
        if (type != "local") refuse_type(type);
        LocalCache local{.folder = take_folder(attributes, "src"), .digest = std::nullopt};
        local.digest = oci::Digest::from(take_folder(attributes, "digest"));
        attributes.take("tag");
        return done(std::move(local));
    });
}

/// Inline is asked for once, however often it is said; the same registry twice is a mistake.
void add_export(std::vector<CacheExport>& all, std::set<std::string>& known, const std::string& type, const Words& words) {
    std::string key = type;
    if (type == "registry" && words.contains("ref"))
        key = words.at("ref");
    else
        for (const auto& [name, value] : words) key += fmt::format("\n{}={}", name, value);
    if (!known.insert(type == "inline" ? type : key).second) {
        if (type == "inline") return;
        fail(ErrorKind::invalid_argument, "duplicate cache exports [{}]", to_valid_utf8(type));
    }
    all.push_back(parse_export(type, words));
}

void check_count(std::size_t count) {
    if (count > cache_limit) fail(ErrorKind::invalid_argument, "Cache: more than {} caches", cache_limit);
}

std::string text_of(const boost::json::value& value, const char* what) {
    if (!value.is_string()) fail(ErrorKind::invalid_argument, "cache-imports: {} is no text", what);
    return std::string(value.get_string());
}

}  // namespace

CacheRequest parse_caches(const wire::control::CacheOptions& options) {
    check_count(static_cast<std::size_t>(options.exports_size() + options.imports_size() + options.importrefsdeprecated_size()));
    CacheRequest out;
    std::set<std::string> known;
    for (const auto& each : options.exports()) add_export(out.exports, known, each.type(), {each.attrs().begin(), each.attrs().end()});
    if (!options.exportrefdeprecated().empty()) {
        Words words{options.exportattrsdeprecated().begin(), options.exportattrsdeprecated().end()};
        words["ref"] = options.exportrefdeprecated();
        add_export(out.exports, known, "registry", words);
    }
    for (const auto& each : options.imports()) out.imports.push_back(parse_import(each.type(), {each.attrs().begin(), each.attrs().end()}));
    for (const std::string& each : options.importrefsdeprecated()) out.imports.push_back(parse_import("registry", {{"ref", each}}));
    return out;
}

std::vector<CacheImport> parse_cache_imports(std::string_view json) {
    if (json.size() > json_limit) fail(ErrorKind::invalid_argument, "cache-imports: more than {} bytes", json_limit);
    boost::system::error_code error;
    const boost::json::value parsed = boost::json::parse(json, error);
    if (error || !parsed.is_array()) fail(ErrorKind::invalid_argument, "cache-imports: it is no JSON list");
    check_count(parsed.get_array().size());
    std::vector<CacheImport> out;
    for (const boost::json::value& each : parsed.get_array()) {
        const auto* entry = each.if_object();
        const auto* type = entry ? entry->if_contains("Type") : nullptr;
        if (!type) fail(ErrorKind::invalid_argument, "cache-imports: an entry has no Type");
        Words words;
        if (const auto* attributes = entry->if_contains("Attrs"); attributes && attributes->is_object())
            for (const auto& [name, value] : attributes->get_object()) words[name] = text_of(value, "an attribute");
        out.push_back(parse_import(text_of(*type, "Type"), words));
    }
    return out;
}

}  // namespace grua::build
