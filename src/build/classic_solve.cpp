#include "build/classic_solve.hpp"

#include "base/id.hpp"
#include "base/text.hpp"
#include "build/dockerfile/source.hpp"
#include "content/hash.hpp"

namespace grua::build {
namespace {

void set_limits(pb::LinuxResources& out, const engine::Resources& limits) {
    out.set_memory(limits.memory);
    out.set_memoryswap(limits.memory_swap);
    out.set_cpushares(static_cast<std::uint64_t>(limits.cpu_shares));
    out.set_cpuperiod(static_cast<std::uint64_t>(limits.cpu_period));
    out.set_cpuquota(limits.cpu_quota);
    out.set_cpusetcpus(limits.cpuset_cpus);
    out.set_cpusetmems(limits.cpuset_mems);
}

void add_exporter(wire::control::SolveRequest& out, const ClassicRequest& request) {
    wire::control::Exporter exporter;
    exporter.set_type("moby");
    if (!request.outputs.empty()) {
        const ClassicRequest::Output& output = request.outputs.front();
        if (output.type == "cacheonly") return;
        exporter.set_type(output.type);
        for (const auto& [name, value] : output.attributes) (*exporter.mutable_attrs())[name] = value;
    }
    if (request.makes_image()) {
        std::vector<std::string> names;
        for (const oci::Reference& each : names_of(request)) names.push_back(each.text());
        if (!names.empty()) (*exporter.mutable_attrs())["name"] = join(names, ",");
    }
    *out.add_exporters() = std::move(exporter);
}

void add_caches(wire::control::SolveRequest& out, const ClassicRequest& request) {
    // Version 1 asks no registry for it.
    for (const std::string& each : request.version == ClassicVersion::trace ? request.cache_from : std::vector<std::string>{}) {
        wire::control::CacheOptionsEntry& import = *out.mutable_cache()->add_imports();
        import.set_type("registry");
        (*import.mutable_attrs())["ref"] = each;
    }
    const auto wish = request.arguments.find("BUILDKIT_INLINE_CACHE");
    if (wish == request.arguments.end() || !wish->second) return;
    if (dockerfile::parse_truth(*wish->second) == dockerfile::Truth::yes) out.mutable_cache()->add_exports()->set_type("inline");
}

void add_context(std::map<std::string, std::string>& attributes, const ClassicRequest& request, const std::string& given) {
    if (request.has_session_context()) return;
    if (!request.has_body() && !request.wants_upload()) {
        attributes["context"] = request.remote;
        return;
    }
    attributes["local-sessionid:context"] = given;
    attributes["local-sessionid:dockerfile"] = given;
}

}  // namespace

wire::control::SolveRequest solve_request_of(const ClassicRequest& request, const std::string& given) {
    std::map<std::string, std::string> attributes;
    add_context(attributes, request, given);
    // Of a body the Dockerfile has been found, and is given by itself: classic_context.hpp.
    const bool is_found = request.version == ClassicVersion::lines && request.has_body();
    if (!request.dockerfile.empty() && request.dockerfile != "." && !is_found) attributes["filename"] = request.dockerfile;
    if (!request.target.empty()) attributes["target"] = request.target;
    for (const auto& [name, value] : request.arguments)
        if (value) attributes["build-arg:" + name] = *value;
    for (const auto& [name, value] : request.labels) attributes["label:" + name] = value;
    if (request.no_cache) attributes["no-cache"] = "";
    attributes["image-resolve-mode"] = request.pull ? "pull" : "default";
    if (!request.platform.empty()) attributes["platform"] = request.platform;
    const bool has_mode = request.network_mode == "host" || request.network_mode == "none";
    if (has_mode) attributes["force-network-mode"] = request.network_mode;
    if (const std::string hosts = hosts_of(request); !hosts.empty()) attributes["add-hosts"] = hosts;
    if (const std::string ulimits = ulimits_of(request); !ulimits.empty()) attributes["ulimit"] = ulimits;
    if (request.shm_size > 0) attributes["shm-size"] = fmt::format("{}", request.shm_size);
    if (!request.cgroup_parent.empty()) attributes["cgroup-parent"] = request.cgroup_parent;
    wire::control::SolveRequest out;
    out.set_ref(random_hex(16));
    out.set_session(request.session.empty() ? given : request.session);
    out.set_frontend("dockerfile.v0");
    for (auto& [name, value] : attributes) (*out.mutable_frontendattrs())[name] = std::move(value);
    if (request.network_mode == "host") out.add_entitlements("network.host");
    add_exporter(out, request);
    add_caches(out, request);
    return out;
}

void limit(pb::Definition& definition, const engine::Resources& limits) {
    pb::LinuxResources wanted;
    set_limits(wanted, limits);
    if (wanted.ByteSizeLong() == 0) return;
    for (const std::string& bytes : definition.def()) {
        pb::Op op;
        if (!op.ParseFromString(bytes) || !op.has_exec()) continue;
        *(*definition.mutable_metadata())[content::digest_of(bytes).text()].mutable_linux_resources() = wanted;
    }
}

}  // namespace grua::build
