#include "api/container_wire.hpp"
#include "api/filters.hpp"
#include "api/host.hpp"
#include "api/image_wire.hpp"
#include "api/router.hpp"
#include "api/routes.hpp"
#include "api/volume_wire.hpp"
#include "base/async.hpp"
#include "images/image_store.hpp"

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

std::optional<Time> bound_of(const Exchange& exchange, std::string_view name) {
    const std::string_view text = exchange.query().get(name);
    if (text.empty()) return std::nullopt;
    const auto time = parse_timestamp(text, now());
    if (!time) fail(ErrorKind::invalid_argument, "invalid value for \"{}\": {}", name, text);
    return time;
}

}  // namespace

Answer ping(const Services&, Exchange& exchange) {
    exchange.add_header("Cache-Control", "no-cache, no-store, must-revalidate");
    exchange.add_header("Pragma", "no-cache");
    exchange.add_header("Swarm", "inactive");
    co_await exchange.send(200, "OK", "text/plain; charset=utf-8");
}

Answer version(const Services&, Exchange& exchange) {
    wire::Version out;
    out.platform.name = "Grua";
    out.version = GRUA_VERSION;
    out.api_version = api_version(newest_version);
    out.min_api_version = api_version(oldest_version);
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
    for (const engine::RecordPtr& record : services.engine.list()) {
        ++out.containers;
        if (record->state.status == engine::Status::paused) {
            ++out.containers_paused;
        } else if (record->state.status == engine::Status::running) {
            ++out.containers_running;
        } else {
            ++out.containers_stopped;
        }
    }
    out.images = std::ssize(services.engine.rooms().images.list());
    out.driver_status = {{"Supports d_type", "true"}, {"Native Overlay Diff", "true"}};
    out.plugins = {.volume = {"local"}, .network = {"bridge", "host", "null"}, .log = {"json-file"}};
    out.debug = services.settings.debug;
    out.docker_root_dir = services.engine.options().data_root;
    out.labels = services.settings.labels;
    out.server_version = GRUA_VERSION;
    out.runtimes = {{"runc", {.path = "grua-runtime"}}};
    out.default_runtime = "runc";
    out.init_binary = "grua-init";
    out.runc_commit.id = GRUA_VERSION;
    out.init_commit.id = GRUA_VERSION;
    co_await send_json(exchange, 200, out);
}

Answer events(const Services& services, Exchange& exchange) {
    const Filters filters =
        Filters::parse(exchange.query().get("filters"), {"config", "container", "daemon", "event", "id", "image", "label", "network",
                                                         "node", "plugin", "scope", "secret", "service", "type", "volume"});
    const auto since = bound_of(exchange, "since");
    const auto until = bound_of(exchange, "until");
    const engine::Filters wanted{filters.all().begin(), filters.all().end()};
    const auto subscription = services.engine.events().subscribe(wanted, since, until);
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
    boost::json::object out;
    std::int64_t layers_size = 0;
    boost::json::array images;
    if (wanted("image")) {
        const engine::Rooms& rooms = services.engine.rooms();
        const std::vector<images::ImagePtr> all = rooms.images.list();
        const auto shared = co_await shared_sizes(services, all);
        for (const images::ImagePtr& image : all) {
            wire::ImageSummary summary = image_summary(*image);
            summary.containers = std::ssize(services.engine.using_image(image->id));
            summary.shared_size = shared.at(image->id);
            images.push_back(json::detail::write(summary, exchange.version));
        }
        layers_size = static_cast<std::int64_t>(co_await offload(services.pool, [&rooms] { return rooms.images.disk_usage(); }));
    }
    boost::json::array containers;
    if (wanted("container")) {
        const Time time = now();
        for (const engine::RecordPtr& record : services.engine.list()) {
            wire::ContainerSummary summary = summary_of(*record, time);
            if (!services.engine.find_if(record->id)) continue;
            const engine::Sizes sizes = co_await services.engine.sizes(record->id);
            summary.size_rw = static_cast<std::int64_t>(sizes.rw);
            summary.size_root_fs = static_cast<std::int64_t>(sizes.root_fs);
            containers.push_back(json::detail::write(summary, exchange.version));
        }
    }
    boost::json::array volumes;
    if (wanted("volume")) {
        const auto& room = services.engine.rooms().volumes;
        for (const volumes::VolumePtr& volume : room.list()) {
            const auto users = std::ssize(services.engine.using_volume(volume->name));
            const std::uint64_t size = co_await offload(services.pool, [&room, volume] { return room.usage(*volume); });
            wire::Volume one = volume_of(*volume);
            one.usage_data = wire::VolumeUsage{.size = static_cast<std::int64_t>(size), .ref_count = users};
            volumes.push_back(json::detail::write(one, exchange.version));
        }
    }
    out["LayersSize"] = layers_size;
    out["Images"] = std::move(images);
    out["Containers"] = std::move(containers);
    out["Volumes"] = std::move(volumes);
    out["BuildCache"] = boost::json::array{};
    co_await exchange.send(200, boost::json::serialize(out) + "\n");
}

}  // namespace grua::api
