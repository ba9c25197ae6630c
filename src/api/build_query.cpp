#include "api/build_query.hpp"

#include "api/exchange.hpp"
#include "base/text.hpp"

namespace grua::api {
namespace {

struct Output {
    std::string type;
    std::map<std::string, std::string> attributes;

    template <typename Self = Output>
    static json::Fields fields() {
        return json::Fields{json::field("Type", &Self::type), json::field("Attrs", &Self::attributes)};
    }
};

/// A parameter that is JSON; `doing` is what dockerd says where it is none.
template <typename T>
T json_of(const Query& query, std::string_view name, std::string_view doing) {
    T out{};
    const std::string_view text = query.get(name);
    if (!text.empty()) while_doing(doing, [&] { json::detail::read(parse_json(text), out, ""); });
    return out;
}

/// {"A": "x", "B": null}: B is named, and has no value.
std::map<std::string, std::optional<std::string>, std::less<>> arguments_of(const Query& query) {
    std::map<std::string, std::optional<std::string>, std::less<>> out;
    const std::string_view text = query.get("buildargs");
    if (text.empty()) return out;
    while_doing("error reading build args", [&] {
        const json::Value all = parse_json(text);
        if (all.is_null()) return;
        if (!all.is_object()) json::detail::wrong_type("", "an object", all);
        for (const auto& [name, value] : all.get_object()) {
            if (!value.is_null() && !value.is_string()) json::detail::wrong_type(std::string(name), "a string", value);
            out[std::string(name)] = value.is_null() ? std::nullopt : std::optional<std::string>(value.get_string());
        }
    });
    return out;
}

build::ClassicVersion version_of(std::string_view text) {
    if (text.empty() || text == "1") return build::ClassicVersion::lines;
    if (text == "2") return build::ClassicVersion::trace;
    fail(ErrorKind::invalid_argument, "invalid version {:?}", text);
}

/// Of these, nothing but the default is there.
void refuse_what_is_not_there(const Query& query) {
    if (!query.all("securityopt").empty()) fail(ErrorKind::invalid_argument, "security options are not supported on linux");
    const std::string_view isolation = query.get("isolation");
    if (!isolation.empty() && to_lower(isolation) != "default") fail(ErrorKind::invalid_argument, "unsupported isolation: {:?}", isolation);
    if (query.flag("squash")) fail(ErrorKind::not_implemented, "not implemented: squash");
}

engine::Resources limits_of(const Query& query) {
    engine::Resources out;
    out.memory = query.number("memory").value_or(0);
    out.memory_swap = query.number("memswap").value_or(0);
    out.cpu_shares = query.number("cpushares").value_or(0);
    out.cpu_period = query.number("cpuperiod").value_or(0);
    out.cpu_quota = query.number("cpuquota").value_or(0);
    out.cpuset_cpus = query.get("cpusetcpus");
    out.cpuset_mems = query.get("cpusetmems");
    return out;
}

}  // namespace

build::ClassicRequest build_request_of(const Query& query, std::string_view registry_config, json::Version version) {
    refuse_what_is_not_there(query);
    // There are no containers that they could keep or remove.
    static_cast<void>(query.flag("rm"));
    static_cast<void>(query.flag("forcerm"));
    build::ClassicRequest out;
    out.version = version_of(query.get("version"));
    out.dockerfile = query.get("dockerfile");
    out.names = query.all("t");
    out.extra_hosts = query.all("extrahosts");
    out.remote = query.get("remote");
    out.session = query.get("session");
    out.id = query.get("buildid");
    out.is_quiet = query.flag("q");
    out.no_cache = query.flag("nocache");
    out.pull = query.flag("pull");
    out.tells_ids = version.minor_number >= 30;
    out.cache_from = json_of<std::vector<std::string>>(query, "cachefrom", "error reading cache-from");
    out.arguments = arguments_of(query);
    out.labels = json_of<std::map<std::string, std::string>>(query, "labels", "error reading labels");
    out.network_mode = query.get("networkmode");
    out.platform = query.get("platform");
    out.target = query.get("target");
    out.cgroup_parent = query.get("cgroupparent");
    out.shm_size = query.number("shmsize").value_or(0);
    out.ulimits = json_of<std::vector<engine::Ulimit>>(query, "ulimits", "error reading ulimit settings");
    out.limits = limits_of(query);
    for (Output& each : json_of<std::vector<Output>>(query, "outputs", "invalid outputs specified"))
        out.outputs.push_back({.type = std::move(each.type), .attributes = std::move(each.attributes)});
    out.credentials = build::read_registry_config(registry_config);
    check(out);
    return out;
}

}  // namespace grua::api
