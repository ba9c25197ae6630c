#include "cli/build/request.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/options.hpp"
#include "base/text.hpp"
#include "cli/build/layout.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <cstdlib>

namespace grua::cli {
namespace {

constexpr const char* usual_provenance = "mode=min,inline-only=true";

std::string hosts_text(const BuildOptions& options, const EngineAbilities& abilities) {
    std::vector<std::string> out;
    for (const auto& [name, address] : options.hosts) {
        if (address == "host-gateway" && abilities.gateway.empty())
            fail(ErrorKind::invalid_argument, "unable to derive the IP value for host-gateway");
        out.push_back(name + "=" + (address == "host-gateway" ? abilities.gateway : address));
    }
    return join(out, ",");
}

bool wants_usual_provenance(const BuildOptions& options, const EngineAbilities& abilities) {
    if (options.attestations.contains("provenance") || !abilities.graph.contains("exporter.image.attestations")) return false;
    const char* said = std::getenv("BUILDX_NO_DEFAULT_ATTESTATIONS");
    if (!said) return true;
    const auto off = parse_bool(said);
    if (!off) fail(ErrorKind::invalid_argument, "invalid BUILDX_NO_DEFAULT_ATTESTATIONS: {:?}", said);
    return !*off;
}

void add_attestations(const BuildOptions& options, const EngineAbilities& abilities, Words& out) {
    bool is_asked = false;
    for (const auto& [type, text] : options.attestations) {
        if (!text) continue;
        is_asked = true;
        out["attest:" + type] = *text;
    }
    if (is_asked && !abilities.graph.contains("exporter.image.attestations"))
        fail(ErrorKind::not_implemented, "Attestations are not supported by the current BuildKit daemon");
    if (wants_usual_provenance(options, abilities)) out["attest:provenance"] = usual_provenance;
}

Words front_end_words(const BuildOptions& options, const BuildInputs& inputs, const EngineAbilities& abilities) {
    Words out = inputs.attributes;
    for (const auto& [name, value] : options.arguments) out["build-arg:" + name] = value;
    for (const auto& [name, value] : options.labels) out["label:" + name] = value;
    out["image-resolve-mode"] = options.pull ? "pull" : "local";
    const auto add = [&](const char* name, const std::string& value) {
        if (!value.empty()) out[name] = value;
    };
    add("target", options.target);
    add("no-cache", join(options.no_cache_stages, ","));
    if (options.no_cache) out["no-cache"] = "";
    add("platform", join(options.platforms, ","));
    if (options.network != "default") out["force-network-mode"] = options.network;
    add("add-hosts", hosts_text(options, abilities));
    add("cgroup-parent", options.cgroup_parent);
    if (options.shm_size > 0) out["shm-size"] = std::to_string(options.shm_size);
    add("ulimit", join(options.ulimits, ","));
    if (const auto many = options.arguments.find("BUILDKIT_MULTI_PLATFORM");
        many != options.arguments.end() && parse_bool(many->second).value_or(false))
        out["multi-platform"] = "true";
    add_attestations(options, abilities, out);
    return out;
}

void add_exporters(const BuildOptions& options, wire::control::SolveRequest& request) {
    std::vector<BuildOutput> outputs = options.outputs;
    // Nothing said: an image that the engine keeps.
    if (!options.has_output && !options.call) outputs.push_back({.type = "moby", .attributes = {}, .destination = {}});
    for (const BuildOutput& each : outputs) {
        auto& exporter = *request.add_exporters();
        exporter.set_type(each.type);
        exporter.mutable_attrs()->insert(each.attributes.begin(), each.attributes.end());
        const bool has_names = each.type == "moby" || each.type == "oci" || each.type == "docker";
        if (has_names && !options.tags.empty()) (*exporter.mutable_attrs())["name"] = join(options.tags, ",");
    }
    if (request.exporters_size() == 0) return;
    // Engines of before several could be asked for.
    request.set_exporterdeprecated(request.exporters(0).type());
    *request.mutable_exporterattrsdeprecated() = request.exporters(0).attrs();
}

/// A cache of ours that is not there is none, and no failure.
bool find_local_cache(BuildCacheEntry& entry) {
    if (entry.type != "local") return true;
    Words& attributes = entry.attributes;
    const auto folder = attributes.find("src");
    if (folder == attributes.end() || folder->second.empty()) fail(ErrorKind::invalid_argument, "local cache importer requires src");
    if (attributes.contains("digest")) return true;
    const auto tag = attributes.find("tag");
    const std::string digest = digest_in_layout(folder->second, tag != attributes.end() ? tag->second : "latest");
    if (digest.empty()) {
        fmt::print(stderr, "WARNING: local cache import at {} not found\n", folder->second);
        return false;
    }
    attributes["digest"] = digest;
    return true;
}

void add_caches(const BuildOptions& options, wire::control::SolveRequest& request) {
    auto& cache = *request.mutable_cache();
    boost::json::array imports;
    for (BuildCacheEntry each : options.cache_from) {
        if (!find_local_cache(each)) continue;
        auto& entry = *cache.add_imports();
        entry.set_type(each.type);
        entry.mutable_attrs()->insert(each.attributes.begin(), each.attributes.end());
        boost::json::object attributes;
        for (const auto& [name, value] : each.attributes) attributes[name] = value;
        imports.push_back(boost::json::object{{"Type", each.type}, {"Attrs", std::move(attributes)}});
    }
    if (!imports.empty()) (*request.mutable_frontendattrs())["cache-imports"] = boost::json::serialize(imports);
    for (const BuildCacheEntry& each : options.cache_to) {
        if (each.type == "local") {
            const auto folder = each.attributes.find("dest");
            if (folder == each.attributes.end() || folder->second.empty())
                fail(ErrorKind::invalid_argument, "local cache exporter requires dest");
            make_directories(folder->second);
        }
        auto& entry = *cache.add_exports();
        entry.set_type(each.type);
        entry.mutable_attrs()->insert(each.attributes.begin(), each.attributes.end());
    }
}

}  // namespace

wire::control::SolveRequest make_request(const BuildOptions& options, const BuildInputs& inputs, const EngineAbilities& abilities) {
    wire::control::SolveRequest out;
    for (auto& [name, value] : front_end_words(options, inputs, abilities)) (*out.mutable_frontendattrs())[name] = value;
    add_caches(options, out);
    add_exporters(options, out);
    for (const std::string& each : options.entitlements) out.add_entitlements(each);
    if (options.network == "host" && std::ranges::find(options.entitlements, "network.host") == options.entitlements.end())
        out.add_entitlements("network.host");
    if (options.call) {
        out.set_internal(true);
        std::string& abilities_asked = (*out.mutable_frontendattrs())["frontend.caps"];
        abilities_asked += (abilities_asked.empty() ? "" : ",") + std::string("moby.buildkit.frontend.subrequests+forward");
        (*out.mutable_frontendattrs())["requestid"] = "frontend." + options.call->name;
    } else {
        out.set_frontend("dockerfile.v0");
    }
    return out;
}

}  // namespace grua::cli
