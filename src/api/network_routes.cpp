#include "api/filters.hpp"
#include "api/routes.hpp"
#include "network/networks.hpp"

namespace grua::api {

namespace {

json::Value network_object(const network::Network& network, bool with_containers, const Services& services) {
    boost::json::object out{{"Name", network.name},
                            {"Id", network.id},
                            {"Created", format_time(network.created)},
                            {"Scope", network.scope},
                            {"Driver", network.driver},
                            {"EnableIPv4", network.enable_ipv4},
                            {"EnableIPv6", network.enable_ipv6}};
    boost::json::array subnets;
    for (const auto& subnet : network.subnets) {
        boost::json::object one{{"Subnet", subnet.subnet}};
        if (!subnet.gateway.empty()) one["Gateway"] = subnet.gateway;
        subnets.push_back(std::move(one));
    }
    out["IPAM"] = boost::json::object{{"Driver", network.ipam_driver}, {"Options", nullptr}, {"Config", std::move(subnets)}};
    out["Internal"] = network.internal;
    out["Attachable"] = network.attachable;
    out["Ingress"] = network.ingress;
    out["ConfigFrom"] = boost::json::object{{"Network", ""}};
    out["ConfigOnly"] = false;
    boost::json::object containers;
    if (with_containers) {
        for (const engine::RecordPtr& record : services.engine.list()) {
            const auto found = record->networks.find(network.name);
            if (found == record->networks.end() || !engine::is_running(record->state.status)) continue;
            const engine::EndpointSettings& endpoint = found->second;
            containers[record->id] = boost::json::object{
                {"Name", record->name},
                {"EndpointID", endpoint.endpoint_id},
                {"MacAddress", endpoint.mac_address},
                {"IPv4Address", endpoint.ip_address.empty() ? "" : fmt::format("{}/{}", endpoint.ip_address, endpoint.ip_prefix_len)},
                {"IPv6Address", ""}};
        }
    }
    out["Containers"] = std::move(containers);
    out["Options"] = json::detail::write(network.options, {});
    out["Labels"] = json::detail::write(network.labels, {});
    return out;
}

}  // namespace

Answer network_list(const Services& services, Exchange& exchange) {
    const Filters filters = Filters::parse(exchange.query().get("filters"), {"dangling", "driver", "id", "label", "name", "scope", "type"});
    const auto dangling = filters.flag("dangling");
    boost::json::array out;
    for (const network::Network& network : services.engine.rooms().networks.list()) {
        if (!filters.exact("driver", network.driver) || !filters.pattern("id", network.id) || !filters.pattern("name", network.name))
            continue;
        if (!filters.exact("scope", network.scope) || !filters.labels("label", network.labels)) continue;
        // The three that are there by themselves are "builtin" and never dangling.
        if (!filters.exact("type", "builtin") || dangling.value_or(false)) continue;
        out.push_back(network_object(network, exchange.version < json::Version{1, 28}, services));
    }
    co_await exchange.send(200, boost::json::serialize(out) + "\n");
}

Answer network_inspect(const Services& services, Exchange& exchange) {
    const network::Network network = services.engine.rooms().networks.find(exchange.name);
    co_await exchange.send(200, boost::json::serialize(network_object(network, true, services)) + "\n");
}

}  // namespace grua::api
