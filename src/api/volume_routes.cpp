#include "api/filters.hpp"
#include "api/routes.hpp"
#include "api/volume_wire.hpp"

namespace grua::api {

wire::Volume volume_of(const engine::Volume& volume) {
    wire::Volume out{.created_at = format_time(std::chrono::floor<std::chrono::seconds>(volume.created)),
                     .driver = volume.driver,
                     .mountpoint = volume.mountpoint,
                     .name = volume.name};
    // Docker's null where nothing was said.
    if (!volume.labels.empty()) out.labels = volume.labels;
    if (!volume.options.empty()) out.options = volume.options;
    return out;
}

Answer volume_list(const Services& services, Exchange& exchange) {
    const Filters filters = filters_of(exchange);
    const auto dangling = filters.flag("dangling");
    wire::VolumeList out;
    for (const auto& [volume, users] : services.volumes.list()) {
        if (!filters.exact("driver", volume->driver) || !filters.pattern("name", volume->name) || !filters.labels("label", volume->labels))
            continue;
        if (dangling && *dangling != (users == 0)) continue;
        out.volumes.push_back(volume_of(*volume));
    }
    co_await send_json(exchange, 200, out);
}

Answer volume_create(const Services& services, Exchange& exchange) {
    const auto body = co_await read_json<wire::VolumeCreate>(exchange);
    engine::VolumeRequest request{.name = body.name, .driver = body.driver, .options = body.driver_opts, .labels = body.labels};
    engine::VolumePtr volume;
    try {
        volume = co_await services.volumes.create(std::move(request));
    } catch (Error& error) {
        error.add_context("create " + body.name);
        throw;
    }
    co_await send_json(exchange, 201, volume_of(*volume));
}

Answer volume_inspect(const Services& services, Exchange& exchange) {
    const engine::VolumePtr volume = services.volumes.get(exchange.name);
    co_await send_json(exchange, 200, volume_of(*volume));
}

Answer volume_update(const Services&, Exchange&) {
    fail(ErrorKind::unavailable, "volume update only valid for cluster volumes, but swarm is unavailable");
    co_return;
}

Answer volume_remove(const Services& services, Exchange& exchange) {
    co_await services.volumes.remove(exchange.name, exchange.query().flag("force"));
    co_await exchange.send_empty(204);
}

Answer volume_prune(const Services& services, Exchange& exchange) {
    const Filters filters = filters_of(exchange);
    // Since API 1.42 only anonymous volumes, unless all is asked for.
    const bool all = filters.flag("all").value_or(exchange.version < json::Version{1, 42});
    const auto keep = [filters, all](const engine::Volume& volume) {
        return (!all && !volume.anonymous) || !filters.labels("label", volume.labels) || !filters.no_labels("label!", volume.labels);
    };
    const engine::Pruned pruned = co_await services.volumes.prune(keep);
    co_await exchange.send(
        200, boost::json::serialize(boost::json::object{{"VolumesDeleted", json::detail::write(pruned.deleted, exchange.version)},
                                                        {"SpaceReclaimed", pruned.reclaimed}}) +
                 "\n");
}

}  // namespace grua::api
