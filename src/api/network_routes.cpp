#include "api/filters.hpp"
#include "api/routes.hpp"
#include "api/wire/network.hpp"

namespace grua::api {

namespace {

std::string with_prefix(const std::string& address, std::int64_t length) {
    return address.empty() ? "" : fmt::format("{}/{}", address, length);
}

json::Value network_object(const engine::ListedNetwork& listed, bool with_containers, json::Version version) {
    const engine::NetworkConfig& network = listed.config;
    boost::json::object containers;
    if (with_containers) {
        for (const engine::RecordPtr& record : listed.containers) {
            if (!engine::is_running(record->state.status)) continue;
            const engine::EndpointSettings& endpoint = record->networks.at(network.name);
            containers[record->id] =
                boost::json::object{{"Name", record->name},
                                    {"EndpointID", endpoint.endpoint_id},
                                    {"MacAddress", endpoint.mac_address},
                                    {"IPv4Address", with_prefix(endpoint.ip_address, endpoint.ip_prefix_len)},
                                    {"IPv6Address", with_prefix(endpoint.global_ipv6_address, endpoint.global_ipv6_prefix_len)}};
        }
    }
    // Docker's order of members, and its null where nobody has addresses.
    boost::json::object out;
    for (auto& [name, value] : json::detail::write(network, version).as_object()) {
        if (name == "Options") out["Containers"] = std::move(containers);
        // To older clients it is told all the same; a request of theirs does not say it.
        if (name == "EnableIPv6" && version < json::Version{1, 48}) out["EnableIPv4"] = network.has_ipv4();
        if (name == "IPAM" && network.ipam.config.empty()) value.as_object()["Config"] = nullptr;
        out[name] = std::move(value);
    }
    return out;
}

}  // namespace

Answer network_list(const Services& services, Exchange& exchange) {
    const Filters filters = filters_of(exchange);
    const auto dangling = filters.flag("dangling");
    for (const std::string& type : filters.get("type"))
        if (type != "builtin" && type != "custom") fail(ErrorKind::invalid_argument, "invalid filter: 'type'='{}'", type);
    boost::json::array out;
    for (const engine::ListedNetwork& listed : services.networks.list()) {
        const engine::NetworkConfig& network = listed.config;
        if (!filters.exact("driver", network.driver) || !filters.pattern("id", network.id) || !filters.pattern("name", network.name))
            continue;
        if (!filters.exact("scope", network.scope) || !filters.labels("label", network.labels)) continue;
        const bool builtin = engine::is_predefined(network.name);
        if (!filters.exact("type", builtin ? "builtin" : "custom")) continue;
        // The predefined ones are never dangling.
        const bool used = std::ranges::any_of(listed.containers, &engine::is_running, [](const auto& each) { return each->state.status; });
        if (dangling && *dangling != (!builtin && !used)) continue;
        out.push_back(network_object(listed, exchange.version < json::Version{1, 28}, exchange.version));
    }
    co_await exchange.send(200, boost::json::serialize(out) + "\n");
}

Answer network_inspect(const Services& services, Exchange& exchange) {
    if (const std::string_view scope = exchange.query().get("scope"); !scope.empty() && scope != "local")
        fail(ErrorKind::not_found, "network {} not found", exchange.name);
    const engine::ListedNetwork network = services.networks.find(exchange.name);
    co_await exchange.send(200, boost::json::serialize(network_object(network, true, exchange.version)) + "\n");
}

Answer network_create(const Services& services, Exchange& exchange) {
    auto request = co_await read_json<engine::NetworkConfig>(exchange);
    // What only an answer tells.
    request.id.clear();
    request.created.clear();
    if (exchange.version < json::Version{1, 48}) request.enable_ipv4.reset();
    const engine::NetworkConfig made = co_await services.networks.create(std::move(request));
    co_await exchange.send(201, boost::json::serialize(boost::json::object{{"Id", made.id}, {"Warning", ""}}) + "\n");
}

Answer network_update(const Services& services, Exchange& exchange) {
    auto body = co_await read_json<wire::NetworkUpdate>(exchange);
    const engine::ListedNetwork changed = co_await services.networks.update(exchange.name, std::move(body.options));
    co_await exchange.send(200, boost::json::serialize(network_object(changed, true, exchange.version)) + "\n");
}

Answer network_reach(const Services& services, Exchange& exchange) {
    boost::json::array out;
    for (const engine::Reached& each : co_await services.networks.reach(exchange.query().flag("probe"))) {
        boost::json::array ports;
        if (each.all) ports.emplace_back("all");
        for (const std::string& port : each.ports) ports.emplace_back(port);
        boost::json::object one{
            {"From", each.from}, {"To", each.to}, {"By", each.by}, {"Address", each.address}, {"Ports", std::move(ports)}};
        boost::json::array probed;
        for (const auto& probe : each.probed)
            probed.push_back(boost::json::object{{"Port", probe.port}, {"Open", probe.open}, {"Expected", probe.expected}});
        if (!probed.empty()) one["Probed"] = std::move(probed);
        out.push_back(std::move(one));
    }
    co_await exchange.send(200, boost::json::serialize(out) + "\n");
}

Answer network_remove(const Services& services, Exchange& exchange) {
    co_await services.networks.remove(exchange.name);
    co_await exchange.send_empty(204);
}

Answer network_prune(const Services& services, Exchange& exchange) {
    const Filters filters = filters_of(exchange);
    const auto until = filters.until();
    const auto keep = [filters, until](const engine::NetworkConfig& network) {
        const auto created = parse_time(network.created);
        return (until && created && *created >= *until) || !filters.labels("label", network.labels) ||
               !filters.no_labels("label!", network.labels);
    };
    const engine::Pruned pruned = co_await services.networks.prune(keep);
    co_await exchange.send(
        200, boost::json::serialize(boost::json::object{{"NetworksDeleted", null_if_empty(pruned.deleted, exchange.version)}}) + "\n");
}

Answer network_connect(const Services& services, Exchange& exchange) {
    auto body = co_await read_json<wire::NetworkConnect>(exchange);
    engine::EndpointSettings settings = body.endpoint_config.value_or(engine::EndpointSettings{});
    if (exchange.version < json::Version{1, 48}) settings.gw_priority = 0;
    co_await services.networks.connect(body.container, exchange.name, std::move(settings));
    co_await exchange.send_empty(200);
}

Answer network_disconnect(const Services& services, Exchange& exchange) {
    auto body = co_await read_json<wire::NetworkDisconnect>(exchange);
    co_await services.networks.disconnect(body.container, exchange.name, body.force);
    co_await exchange.send_empty(200);
}

}  // namespace grua::api
