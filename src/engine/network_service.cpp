#include "engine/network_service.hpp"

#include "engine/engine_impl.hpp"

namespace grua::engine {

namespace {

ListedNetwork listed(const Inside& engine, NetworkConfig config) {
    ListedNetwork out{.config = std::move(config), .containers = {}};
    for (const auto& [id, container] : engine.containers) {
        if (container->record->networks.contains(out.config.name)) out.containers.push_back(container->record);
    }
    std::ranges::sort(out.containers, std::ranges::greater{}, [](const RecordPtr& each) { return each->created; });
    return out;
}

}  // namespace

std::vector<ListedNetwork> NetworkService::list() const {
    const Inside& engine = ask(Operation::network_list);
    std::vector<ListedNetwork> out;
    for (NetworkConfig& config : engine.rooms.networks.configs()) out.push_back(listed(engine, std::move(config)));
    return out;
}

ListedNetwork NetworkService::find(std::string_view reference) const {
    const Inside& engine = ask(Operation::network_inspect, reference);
    return listed(engine, engine.rooms.networks.find_config(reference));
}

asio::awaitable<NetworkConfig> NetworkService::create(NetworkConfig request) const {
    Inside& engine = ask(Operation::network_create, request.name, &request);
    co_return co_await engine.create_network(std::move(request));
}

asio::awaitable<ListedNetwork> NetworkService::update(std::string reference, StringMap options) const {
    Inside& engine = ask(Operation::network_update, reference);
    NetworkConfig changed = co_await engine.update_network(std::move(reference), std::move(options));
    co_return listed(engine, std::move(changed));
}

asio::awaitable<void> NetworkService::remove(std::string reference) const {
    return ask(Operation::network_remove, reference).remove_network(std::move(reference));
}

asio::awaitable<Pruned> NetworkService::prune(std::function<bool(const NetworkConfig&)> keep) const {
    return ask(Operation::network_prune).prune_networks(std::move(keep));
}

asio::awaitable<void> NetworkService::connect(std::string container, std::string network, EndpointSettings settings) const {
    return ask(Operation::network_connect, network, &settings)
        .connect_network(std::move(container), std::move(network), std::move(settings));
}

asio::awaitable<void> NetworkService::disconnect(std::string container, std::string network, bool force) const {
    return ask(Operation::network_disconnect, network).disconnect_network(std::move(container), std::move(network), force);
}

asio::awaitable<std::vector<Reached>> NetworkService::reach(bool with_probe) const {
    return ask(Operation::network_reach).reach(with_probe);
}

}  // namespace grua::engine
