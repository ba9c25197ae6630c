#include "api/container_wire.hpp"
#include "api/older_requests.hpp"
#include "api/routes.hpp"
#include "base/codec.hpp"

#include <algorithm>

namespace grua::api {

namespace {

constexpr std::int64_t list_limit = 1'000'000;

/// An image that an ancestor filter names, looked up once for all containers.
struct Ancestor {
    std::string name;
    std::string image_id;            ///< Empty where there is no such image.
    std::vector<std::string> chain;  ///< Its diff IDs.
};

std::vector<Ancestor> ancestors_of(const Services& services, const Filters& filters) {
    std::vector<Ancestor> out;
    for (const std::string& name : filters.get("ancestor")) {
        Ancestor& one = out.emplace_back(Ancestor{.name = name, .image_id = {}, .chain = {}});
        const engine::ImagePtr image = services.images.find(name);
        if (!image) continue;
        one.image_id = image->id;
        for (const oci::Digest& digest : image->diff_ids) one.chain.push_back(digest.text());
    }
    return out;
}

/// Whether a container was made from one of these images, or from one that stands on its layers.
bool has_ancestor(const engine::ContainerRecord& record, const std::vector<Ancestor>& ancestors) {
    return ancestors.empty() || std::ranges::any_of(ancestors, [&](const Ancestor& each) {
               if (each.name == record.config.image) return true;
               if (each.image_id.empty()) return false;
               if (each.image_id == record.image_id) return true;
               return !each.chain.empty() && each.chain.size() <= record.chain.size() &&
                      std::equal(each.chain.begin(), each.chain.end(), record.chain.begin());
           });
}

bool is_listed(const engine::ContainerRecord& record, const Filters& filters) {
    const engine::State& state = record.state;
    const auto any_of = [&](std::string_view name, auto test) {
        return !filters.has(name) || std::ranges::any_of(filters.get(name), test);
    };
    return (any_of("id", [&](const std::string& value) { return record.id.starts_with(value); }) || filters.pattern("id", record.id)) &&
           (filters.pattern("name", record.name) || filters.pattern("name", "/" + record.name)) &&
           filters.labels("label", record.config.labels) && filters.exact("status", to_string(state.status)) &&
           any_of("exited",
                  [&](const std::string& value) {
                      return state.status == engine::Status::exited && parse_int(value) == std::optional<std::int64_t>{state.exit_code};
                  }) &&
           filters.exact("health", to_string(state.health.status)) &&
           any_of("volume",
                  [&](const std::string& value) {
                      return std::ranges::any_of(record.mounts, [&](const engine::MountPoint& mount) {
                          return mount.name == value || mount.destination == value;
                      });
                  }) &&
           any_of("network",
                  [&](const std::string& value) {
                      return std::ranges::any_of(record.networks, [&](const auto& network) {
                          return network.first == value || network.second.network_id == value;
                      });
                  }) &&
           any_of("isolation", [](const std::string& value) { return value == "default"; }) &&
           filters.flag("is-task").value_or(false) == false;
}

/// As Docker has it: with both filters, either is enough.
bool has_ports(const wire::ContainerSummary& summary, const PortFilter& published, const PortFilter& exposed) {
    return std::ranges::any_of(summary.ports, [&](const wire::Port& each) {
        return (each.public_port != 0 && published.contains(each.public_port, each.type)) || exposed.contains(each.private_port, each.type);
    });
}

void check_values(const Filters& filters) {
    for (const std::string& value : filters.get("status")) {
        if (!engine::parse_status(value))
            fail(ErrorKind::invalid_argument,
                 "invalid filter 'status={0}': invalid value for state ({0}): must be one of created, running, paused, restarting, "
                 "removing, exited, dead",
                 value);
    }
    for (const std::string& value : filters.get("exited")) {
        if (!parse_int(value)) fail(ErrorKind::invalid_argument, "invalid filter 'exited={}'", value);
    }
    for (const std::string& value : filters.get("health")) {
        if (!engine::parse_health(value))
            fail(ErrorKind::invalid_argument,
                 "invalid filter 'health={0}': invalid value for health ({0}): must be one of none, starting, healthy, unhealthy", value);
    }
    static_cast<void>(filters.flag("is-task"));
}

engine::StopOptions stop_options(const Exchange& exchange) {
    return {.timeout = exchange.query().number("t"), .signal = std::string(exchange.query().get("signal"))};
}

std::uint32_t dimension(const Exchange& exchange, std::string_view name) {
    const std::string_view text = exchange.query().get(name);
    const auto value = parse_uint(text);
    if (!value || *value > 65535)
        fail(ErrorKind::invalid_argument, "invalid resize {} \"{}\": {}", name == "h" ? "height" : "width", text,
             value ? "value out of range" : "invalid syntax");
    return static_cast<std::uint32_t>(*value);
}

}  // namespace

Answer container_list(const Services& services, Exchange& exchange) {
    const Filters filters = filters_of(exchange);
    check_values(filters);
    const PortFilter published = PortFilter::parse(filters, "publish");
    const PortFilter exposed = PortFilter::parse(filters, "expose");
    const auto limit = exchange.query().number("limit").value_or(0);
    const std::int64_t most = limit > 0 ? limit : list_limit;
    const bool all = exchange.query().flag("all") || limit > 0 || filters.has("status") || filters.has("exited") || filters.has("before") ||
                     filters.has("since");
    engine::RecordPtr before;
    engine::RecordPtr since;
    if (filters.has("before")) before = services.containers.find(filters.get("before").back());
    if (filters.has("since")) since = services.containers.find(filters.get("since").back());

    const std::vector<Ancestor> ancestors = ancestors_of(services, filters);
    const bool by_port = filters.has("publish") || filters.has("expose");
    std::vector<engine::RecordPtr> shown;
    for (engine::RecordPtr& record : services.containers.list()) {
        if (std::ssize(shown) == most) break;
        if (!all && !engine::is_running(record->state.status) && record->state.status != engine::Status::restarting) continue;
        if (before && record->created >= before->created) continue;
        if (since && record->created <= since->created) continue;
        if (!is_listed(*record, filters) || !has_ancestor(*record, ancestors)) continue;
        if (by_port && !has_ports(summary_of(*record, Time{}), published, exposed)) continue;
        shown.push_back(std::move(record));
    }
    std::string out = "[";
    const auto comma = [&out] {
        if (out.size() > 1) out += ',';
    };
    if (exchange.query().flag("size")) {
        for (const auto& [record, sizes] : co_await services.system.sizes(std::move(shown))) {
            comma();
            wire::ContainerSummary summary = summary_of(*record, now());
            summary.size_rw = static_cast<std::int64_t>(sizes.rw);
            summary.size_root_fs = static_cast<std::int64_t>(sizes.root_fs);
            json::append(out, summary, exchange.version);
        }
    } else {
        const Time time = now();
        for (const engine::RecordPtr& record : shown) {
            comma();
            append_summary(out, *record, exchange.version, time);
        }
    }
    out += "]\n";
    co_await exchange.send(200, std::move(out));
}

Answer container_create(const Services& services, Exchange& exchange) {
    if (!exchange.head().has_body()) fail(ErrorKind::invalid_argument, "invalid JSON: got EOF while reading request body");
    auto body = co_await read_json<wire::CreateBody>(exchange);
    const engine::StringList warnings = take_as_in(exchange.version, body);
    for (const engine::Ulimit& limit : services.settings.default_ulimits) {
        auto& given = body.host_config.ulimits;
        if (std::ranges::none_of(given, [&](const engine::Ulimit& one) { return one.name == limit.name; })) given.push_back(limit);
    }
    engine::CreateRequest request;
    request.name = exchange.query().get("name");
    request.platform = exchange.query().get("platform");
    request.host_config = std::move(body.host_config);
    request.networking = std::move(body.networking_config);
    request.config = std::move(static_cast<engine::ContainerConfig&>(body));
    engine::Created created = co_await services.containers.create(std::move(request));
    created.warnings.insert(created.warnings.end(), warnings.begin(), warnings.end());
    co_await send_json(exchange, 201, wire::Created{.id = std::move(created.id), .warnings = std::move(created.warnings)});
}

Answer container_inspect(const Services& services, Exchange& exchange) {
    const engine::RecordPtr record = services.containers.find(exchange.name);
    if (!exchange.query().flag("size")) co_return co_await exchange.send(200, inspect_text(*record, exchange.version)->text);
    wire::ContainerInspect out = inspect_of(*record, exchange.version);
    for (const auto& [measured, sizes] : co_await services.system.sizes({record})) {
        out.size_rw = static_cast<std::int64_t>(sizes.rw);
        out.size_root_fs = static_cast<std::int64_t>(sizes.root_fs);
    }
    co_await send_json(exchange, 200, out);
}

Answer container_top(const Services& services, Exchange& exchange) {
    engine::Processes top = co_await services.watch.top(exchange.name, std::string(exchange.query().get("ps_args")));
    co_await send_json(exchange, 200, wire::Processes{.titles = std::move(top.titles), .processes = std::move(top.processes)});
}

Answer container_resize(const Services& services, Exchange& exchange) {
    const std::uint32_t height = dimension(exchange, "h");
    const std::uint32_t width = dimension(exchange, "w");
    co_await services.containers.resize(exchange.name, height, width);
    co_await exchange.send_empty(200);
}

Answer exec_resize(const Services& services, Exchange& exchange) {
    const std::uint32_t height = dimension(exchange, "h");
    const std::uint32_t width = dimension(exchange, "w");
    co_await services.execs.resize(exchange.name, height, width);
    co_await exchange.send_empty(200);
}

Answer container_start(const Services& services, Exchange& exchange) {
    if (exchange.head().chunked || exchange.head().content_length.value_or(0) > 7) {
        fail(ErrorKind::invalid_argument,
             "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24");
    }
    if (!exchange.query().get("checkpoint").empty()) fail(ErrorKind::not_implemented, "not implemented: start from a checkpoint");
    co_await services.containers.start(exchange.name);
    co_await exchange.send_empty(204);
}

Answer container_stop(const Services& services, Exchange& exchange) {
    co_await services.containers.stop(exchange.name, stop_options(exchange));
    co_await exchange.send_empty(204);
}

Answer container_restart(const Services& services, Exchange& exchange) {
    co_await services.containers.restart(exchange.name, stop_options(exchange));
    co_await exchange.send_empty(204);
}

Answer container_kill(const Services& services, Exchange& exchange) {
    try {
        co_await services.containers.kill(exchange.name, std::string(exchange.query().get("signal")));
    } catch (Error& error) {
        error.add_context(fmt::format("cannot kill container: {}", exchange.name));
        throw;
    }
    co_await exchange.send_empty(204);
}

Answer container_update(const Services& services, Exchange& exchange) {
    auto update = co_await read_json<engine::UpdateConfig>(exchange);
    wire::Warnings out{.warnings = co_await services.containers.update(exchange.name, std::move(update))};
    co_await send_json(exchange, 200, out);
}

Answer container_rename(const Services& services, Exchange& exchange) {
    co_await services.containers.rename(exchange.name, std::string(exchange.query().get("name")));
    co_await exchange.send_empty(204);
}

Answer container_pause(const Services& services, Exchange& exchange) {
    co_await services.containers.pause(exchange.name);
    co_await exchange.send_empty(204);
}

Answer container_unpause(const Services& services, Exchange& exchange) {
    co_await services.containers.unpause(exchange.name);
    co_await exchange.send_empty(204);
}

Answer container_remove(const Services& services, Exchange& exchange) {
    const engine::RemoveOptions options{
        .force = exchange.query().flag("force"), .volumes = exchange.query().flag("v"), .link = exchange.query().flag("link")};
    co_await services.containers.remove(exchange.name, options);
    co_await exchange.send_empty(204);
}

Answer container_prune(const Services& services, Exchange& exchange) {
    const Filters filters = filters_of(exchange);
    const auto until = filters.until();
    const auto keep = [filters, until](const engine::ContainerRecord& record) {
        return (until && record.created >= *until) || !filters.labels("label", record.config.labels) ||
               !filters.no_labels("label!", record.config.labels);
    };
    const engine::Pruned pruned = co_await services.containers.prune(keep);
    co_await exchange.send(
        200, boost::json::serialize(boost::json::object{{"ContainersDeleted", null_if_empty(pruned.deleted, exchange.version)},
                                                        {"SpaceReclaimed", pruned.reclaimed}}) +
                 "\n");
}

}  // namespace grua::api
