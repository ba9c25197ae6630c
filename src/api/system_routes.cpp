#include "api/container_wire.hpp"
#include "api/filters.hpp"
#include "api/host.hpp"
#include "api/image_wire.hpp"
#include "api/router.hpp"
#include "api/routes.hpp"
#include "api/volume_wire.hpp"
#include "base/async.hpp"
#include "build/usage_plan.hpp"

#include <algorithm>

namespace grua::api {

namespace {

std::string api_version(json::Version version) { return fmt::format("{}.{}", version.major_number, version.minor_number); }

wire::Event event_of(const engine::Event& event) {
    wire::Event out;
    out.type = event.type;
    out.action = event.action;
    out.actor = {.id = event.id, .attributes = event.attributes};
    if (event.type == "container" || event.type == "image") {
        out.status = event.action;
        out.id = event.id;
        if (const auto from = event.attributes.find("image"); from != event.attributes.end()) out.from = from->second;
    }
    const auto since_epoch = event.time.time_since_epoch();
    out.time = std::chrono::duration_cast<std::chrono::seconds>(since_epoch).count();
    out.time_nano = since_epoch.count();
    return out;
}

json::Value registry_config_of(const Settings& settings) {
    boost::json::object indexes;
    const auto index = [&](std::string_view name, const std::vector<std::string>& mirrors, bool official) {
        boost::json::array all(mirrors.begin(), mirrors.end());
        indexes[name] = boost::json::object{{"Name", name}, {"Mirrors", std::move(all)}, {"Secure", official}, {"Official", official}};
    };
    boost::json::array networks{"::1/128", "127.0.0.0/8"};
    for (const std::string& each : settings.insecure_registries) {
        if (each.contains('/')) {
            networks.emplace_back(each);
        } else {
            index(each, {}, false);
        }
    }
    index("docker.io", settings.registry_mirrors, true);
    return boost::json::object{
        {"InsecureRegistryCIDRs", std::move(networks)},
        {"IndexConfigs", std::move(indexes)},
        {"Mirrors", settings.registry_mirrors.empty()
                        ? json::Value(nullptr)
                        : json::Value(boost::json::array(settings.registry_mirrors.begin(), settings.registry_mirrors.end()))}};
}

/// What older clients look for.
void show_as_in(json::Version version, wire::Info& info) {
    const int minor_number = version.minor_number;
    if (minor_number < 25)
        for (std::string& option : info.security_options) option = option.substr(0, option.find(',')).substr(sizeof "name=" - 1);
    if (minor_number >= 42) info.kernel_memory.reset();
    if (minor_number < 47) {
        boost::json::object& registries = info.registry_config.as_object();
        registries["AllowNondistributableArtifactsCIDRs"] = nullptr;
        registries["AllowNondistributableArtifactsHostnames"] = nullptr;
    }
    if (minor_number < 49)
        for (wire::Commit* commit : {&info.containerd_commit, &info.runc_commit, &info.init_commit}) commit->expected = commit->id;
    if (minor_number < 50) info.bridge_nf_iptables = info.bridge_nf_ip6tables = false;
}

std::optional<Time> bound_of(const Exchange& exchange, std::string_view name) {
    const std::string_view text = exchange.query().get(name);
    if (text.empty()) return std::nullopt;
    const auto time = parse_timestamp(text, now());
    if (!time) fail(ErrorKind::invalid_argument, "invalid value for \"{}\": {}", name, text);
    return time;
}

boost::json::object cache_record(const build::UsageEntry& entry, json::Version version) {
    boost::json::object out{{"ID", entry.id},
                            {"Type", entry.type},
                            {"Description", entry.description},
                            {"InUse", entry.in_use},
                            {"Shared", entry.is_shared},
                            {"Size", entry.bytes},
                            {"CreatedAt", format_time(entry.created)},
                            {"LastUsedAt", nullptr},
                            {"UsageCount", entry.uses}};
    if (entry.last_used != Time{}) out["LastUsedAt"] = format_time(entry.last_used);
    if (version.minor_number < 42) {
        out["Parent"] = entry.parents.empty() ? std::string() : entry.parents.front();
    } else if (!entry.parents.empty()) {
        boost::json::array parents;
        for (const std::string& each : entry.parents) parents.emplace_back(each);
        out["Parents"] = std::move(parents);
    }
    return out;
}

}  // namespace

Answer ping(const Services&, Exchange& exchange) {
    exchange.add_header("Cache-Control", "no-cache, no-store, must-revalidate");
    exchange.add_header("Pragma", "no-cache");
    exchange.add_header("Swarm", "inactive");
    co_await exchange.send(200, "OK", "text/plain; charset=utf-8");
}

Answer version(const Services& services, Exchange& exchange) {
    wire::Version out;
    out.platform.name = "Grua";
    out.version = GRUA_VERSION;
    out.api_version = api_version(newest_version);
    out.min_api_version = api_version(services.settings.oldest_version);
    out.os = "linux";
    out.arch = go_architecture();
    out.kernel_version = kernel_version();
    out.components.push_back({.name = "Engine",
                              .version = GRUA_VERSION,
                              .details = {{"ApiVersion", out.api_version},
                                          {"Arch", out.arch},
                                          {"BuildTime", ""},
                                          {"Experimental", "false"},
                                          {"GitCommit", ""},
                                          {"GoVersion", ""},
                                          {"KernelVersion", out.kernel_version},
                                          {"MinAPIVersion", out.min_api_version},
                                          {"Os", "linux"}}});
    co_await send_json(exchange, 200, out);
}

Answer info(const Services& services, Exchange& exchange) {
    wire::Info out = co_await offload(services.pool, [] {
        wire::Info host;
        describe_host(host);
        return host;
    });
    out.id = services.settings.id;
    const engine::Summary summary = services.system.summary();
    out.containers = static_cast<std::int64_t>(summary.containers);
    out.containers_running = static_cast<std::int64_t>(summary.running);
    out.containers_paused = static_cast<std::int64_t>(summary.paused);
    out.containers_stopped = static_cast<std::int64_t>(summary.stopped);
    out.images = static_cast<std::int64_t>(summary.images);
    out.driver_status = {{"Supports d_type", "true"}, {"Native Overlay Diff", "true"}};
    out.plugins = {.volume = {"local"}, .network = {"bridge", "host", "ipvlan", "macvlan", "null"}, .log = summary.log_drivers};
    out.registry_config = registry_config_of(services.settings);
    for (const auto& [base, size] : services.settings.address_pools) out.default_address_pools.push_back({.base = base, .size = size});
    out.logging_driver = summary.log_driver;
    out.live_restore_enabled = summary.live_restore;
    out.debug = services.settings.debug;
    out.docker_root_dir = summary.data_root;
    out.labels = services.settings.labels;
    out.server_version = GRUA_VERSION;
    out.runtimes = {{"runc", {.path = "grua-runtime"}}, {"io.containerd.runc.v2", {.path = "grua-runtime"}}};
    out.default_runtime = "runc";
    out.init_binary = "grua-init";
    out.runc_commit.id = GRUA_VERSION;
    out.init_commit.id = GRUA_VERSION;
    show_as_in(exchange.version, out);
    co_await send_json(exchange, 200, out);
}

Answer debug_vars(const Services& services, Exchange& exchange) {
    if (!services.settings.debug) fail(ErrorKind::not_found, "page not found");
    const std::uint64_t in_use = co_await offload(services.pool, heap_in_use);
    const boost::json::object out{{"memstats", boost::json::object{{"Alloc", in_use}}}};
    co_await exchange.send(200, boost::json::serialize(out) + "\n");
}

Answer not_a_swarm_manager(const Services&, Exchange&) {
    fail(ErrorKind::unavailable,
         "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try "
         "again.");
}

Answer not_in_a_swarm(const Services&, Exchange&) { fail(ErrorKind::unavailable, "This node is not part of a swarm"); }

Answer plugin_list(const Services&, Exchange& exchange) {
    filters_of(exchange);
    co_await exchange.send(200, "[]\n");
}

Answer no_such_plugin(const Services&, Exchange& exchange) { fail(ErrorKind::not_found, "plugin \"{}\" not found", exchange.name); }

Answer events(const Services& services, Exchange& exchange) {
    const Filters filters = filters_of(exchange);
    const auto since = bound_of(exchange, "since");
    const auto until = bound_of(exchange, "until");
    if (since && until && *since > *until)
        fail(ErrorKind::invalid_argument, "`since` time ({}) cannot be after `until` time ({})", exchange.query().get("since"),
             exchange.query().get("until"));
    const engine::Filters wanted{filters.all().begin(), filters.all().end()};
    const auto subscription = services.watch.events(wanted, since, until);
    co_await exchange.begin(200, "application/json");
    exchange.cancel_when_client_leaves();
    while (const std::optional<engine::Event> event = co_await subscription->next()) {
        co_await exchange.write(json::dump(event_of(*event), exchange.version) + "\n");
    }
    co_await exchange.end();
}

Answer disk_usage(const Services& services, Exchange& exchange) {
    const std::vector<std::string> types = exchange.query().all("type");
    for (const std::string& type : types) {
        if (type != "container" && type != "image" && type != "volume" && type != "build-cache") {
            fail(ErrorKind::invalid_argument, "unknown object type: {}", type);
        }
    }
    const auto wanted = [&](std::string_view type) { return types.empty() || std::ranges::find(types, type) != types.end(); };
    const engine::DiskUsage usage =
        co_await services.system.disk_usage({.images = wanted("image"), .containers = wanted("container"), .volumes = wanted("volume")});
    boost::json::object out;
    boost::json::array images;
    for (const auto& [image, shared, users] : usage.images) {
        wire::ImageSummary summary = image_summary(*image, exchange.version);
        summary.containers = static_cast<std::int64_t>(users);
        summary.shared_size = shared;
        images.push_back(json::detail::write(summary, exchange.version));
    }
    boost::json::array containers;
    const Time time = now();
    for (const auto& [record, sizes] : usage.containers) {
        wire::ContainerSummary summary = summary_of(*record, time);
        summary.size_rw = static_cast<std::int64_t>(sizes.rw);
        summary.size_root_fs = static_cast<std::int64_t>(sizes.root_fs);
        containers.push_back(json::detail::write(summary, exchange.version));
    }
    boost::json::array volumes;
    for (const auto& [volume, users, size] : usage.volumes) {
        wire::Volume one = volume_of(*volume);
        one.usage_data = wire::VolumeUsage{.size = static_cast<std::int64_t>(size), .ref_count = static_cast<std::int64_t>(users)};
        volumes.push_back(json::detail::write(one, exchange.version));
    }
    out["LayersSize"] = usage.layers;
    out["Images"] = std::move(images);
    out["Containers"] = std::move(containers);
    out["Volumes"] = std::move(volumes);
    boost::json::array caches;
    std::uint64_t cached = 0;
    if (wanted("build-cache")) {
        for (const build::UsageEntry& each : co_await services.builds.usage()) {
            cached += each.bytes;
            caches.push_back(cache_record(each, exchange.version));
        }
    }
    out["BuildCache"] = std::move(caches);
    if (exchange.version.minor_number < 42) out["BuilderSize"] = cached;
    co_await exchange.send(200, boost::json::serialize(out) + "\n");
}

}  // namespace grua::api
