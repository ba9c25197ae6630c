// Networks as the engine changes them: made, removed, joined and left by containers that run or do not.
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "engine/engine_impl.hpp"
#include "engine/lifecycle/start_mark.hpp"
#include "engine/model/request_texts.hpp"
#include "engine/networking/network_files.hpp"
#include "engine/networking/networking.hpp"
#include "network/container_files.hpp"

#include <fcntl.h>
#include <algorithm>
#include <filesystem>
#include <ranges>

namespace grua::engine {
namespace {

std::string hosts_of(const Options& options, const network::Networks& networks, const ContainerRecord& record, const std::string& hostname,
                     LinkedHosts linked) {
    network::HostsOptions hosts;
    hosts.hostname = hostname;
    hosts.domainname = record.config.domainname;
    for (const auto& [name, settings] : record.networks)
        for (const std::string* address : {&settings.ip_address, &settings.global_ipv6_address})
            if (!address->empty()) hosts.addresses.push_back(*address);
    hosts.extra_hosts = record.host_config.extra_hosts;
    hosts.linked = std::move(linked);
    hosts.host_gateways = options.host_gateways;
    if (const std::string gateway = networks.gateway(); hosts.host_gateways.empty() && !gateway.empty()) hosts.host_gateways = {gateway};
    return network::hosts_text(hosts);
}

std::string resolv_conf_of(const Options& options, const ContainerRecord& record) {
    network::ResolvOptions resolv;
    resolv.nameservers = record.host_config.dns.empty() ? options.dns : record.host_config.dns;
    resolv.search = record.host_config.dns_search.empty() ? options.dns_search : record.host_config.dns_search;
    resolv.options = record.host_config.dns_options.empty() ? options.dns_options : record.host_config.dns_options;
    resolv.keep_loopback = record.host_config.network_mode == "host";
    resolv.embedded = std::ranges::any_of(record.networks, [](const auto& each) { return is_user_defined(each.first); });
    resolv.ipv6 = std::ranges::any_of(record.networks, [](const auto& each) { return !each.second.global_ipv6_address.empty(); });
    return network::resolv_conf_text(network::host_resolv_conf(), resolv);
}

/// Of a container that runs, for the pool. Throws Error(conflict) where it has just ended.
std::shared_ptr<Fd> namespace_of(const Container& container) {
    if (!container.task) fail(ErrorKind::conflict, "container {} is not running", container.id());
    return std::make_shared<Fd>(container.task->open_namespace("net"));
}

}  // namespace

void write_network_files(const Options& options, const network::Networks& networks, const ContainerRecord& record,
                         const std::string& hostname, const LinkedHosts& linked) {
    const bool host_network = record.host_config.network_mode == "host";
    if (host_network && record.host_config.extra_hosts.empty() && std::filesystem::exists("/etc/hosts"))
        replace_file(record.hosts_path, read_file("/etc/hosts"));
    else
        replace_file(record.hosts_path, hosts_of(options, networks, record, hostname, linked));
    if (!record.hostname_path.empty()) replace_file(record.hostname_path, network::hostname_text(hostname));
    replace_file(record.resolv_conf_path, resolv_conf_of(options, record));
}

/// The containers that links of the default bridge lead to, by alias; those of other networks are the network's.
std::map<std::string, std::string> Lifecycle::linked_containers(const HostConfig& host_config) const {
    std::map<std::string, std::string> out;
    if (network_of_mode(host_config.network_mode) != "bridge") return out;
    for (const std::string& each : host_config.links.value_or(StringList{})) {
        const ContainerLink link = parse_link(each);
        const auto other = [&] {
            try {
                return get_container(link.name);
            } catch (const Error& error) {
                fail(ErrorKind::invalid_argument, "could not get container for {}: {}", link.name, error.what());
            }
        }();
        if (other->record->host_config.network_mode == "host")
            fail(ErrorKind::invalid_argument,
                 "conflicting options: host type networking can't be used with links. This would result in undefined behavior");
        out[link.alias] = other->id();
    }
    return out;
}

/// Those that run, with their addresses. One that does not is in no hosts file and in no environment.
std::vector<Lifecycle::Linked> Lifecycle::linked(const ContainerRecord& record) const {
    std::vector<Linked> out;
    for (const auto& [alias, id] : record.links) {
        const auto found = containers.find(id);
        if (found == containers.end()) continue;
        const RecordPtr other = found->second->record;
        const auto bridge = other->networks.find("bridge");
        if (bridge == other->networks.end() || bridge->second.ip_address.empty()) continue;
        out.push_back({.alias = alias, .address = bridge->second.ip_address, .other = other});
    }
    return out;
}

LinkedHosts Lifecycle::linked_hosts(const ContainerRecord& record) const {
    LinkedHosts out;
    for (const auto& [alias, address, other] : linked(record)) {
        std::string named = alias;
        if (!other->config.hostname.empty()) named += " " + other->config.hostname;
        if (other->name != alias) named += " " + other->name;
        out.emplace_back(address, std::move(named));
    }
    return out;
}

StringList Lifecycle::linked_environment(const ContainerRecord& record) const {
    StringList out;
    for (const auto& [alias, address, other] : linked(record))
        for (std::string& each : link_environment(record.name, alias, *other, address)) out.push_back(std::move(each));
    return out;
}

void Lifecycle::forget_link(const std::string& target, const std::string& from) {
    const auto others = linked_from.find(target);
    if (others == linked_from.end()) return;
    others->second.erase(from);
    if (others->second.empty()) linked_from.erase(others);
}

/// One that others have a link to has another address now.
asio::awaitable<void> Engine::Impl::tell_linked(std::string id) {
    const auto others = linked_from.find(id);
    if (others == linked_from.end()) co_return;
    std::vector<ContainerPtr> all;
    for (const std::string& other : others->second) {
        const auto found = containers.find(other);
        if (found != containers.end() && is_running(found->second->record->state.status)) all.push_back(found->second);
    }
    for (const ContainerPtr& each : all) co_await rewrite_network_files(each, false);
}

asio::awaitable<void> Engine::Impl::remove_link(std::string reference) {
    const std::string_view bare = std::string_view(reference).substr(reference.starts_with('/') ? 1 : 0);
    const std::size_t slash = bare.rfind('/');
    if (slash == std::string_view::npos) {
        (void)get_container(reference);
        fail(ErrorKind::conflict, "Conflict, cannot remove the default link name of the container");
    }
    const std::string alias(bare.substr(slash + 1));
    const auto no_such = [&] { fail(ErrorKind::not_found, "No such container: {}", reference); };
    const auto container = find_container(bare.substr(0, slash));
    if (!container) no_such();
    const Lane::Turn turn = co_await container->lane.take();
    const auto found = container->record->links.find(alias);
    if (container->is_gone() || found == container->record->links.end()) no_such();
    const std::string target = found->second;
    container->update([&](ContainerRecord& next) {
        next.links.erase(alias);
        if (next.host_config.links)
            std::erase_if(*next.host_config.links, [&](const std::string& each) { return each.ends_with("/" + alias); });
    });
    if (std::ranges::count(std::views::values(container->record->links), target) == 0) forget_link(target, container->id());
    publish(*container);
    save(*container);
    co_await save_to_end(container);
    if (is_running(container->record->state.status)) co_await rewrite_network_files(container, false);
}

/// Of a container that runs, after it has joined or left a network. Its files are mounted there, so they stay the same ones.
asio::awaitable<void> Engine::Impl::rewrite_network_files(ContainerPtr container, bool with_resolver) {
    auto write = [this, record = container->record, with_resolver, linked = linked_hosts(*container->record)] {
        const auto put = [](const std::string& path, const std::string& text) {
            const Fd file{::open(path.c_str(), O_WRONLY | O_TRUNC | O_NOFOLLOW | O_CLOEXEC)};
            if (!file) fail_errno("open {}", path);
            write_all(file.get(), text, path);
        };
        put(record->hosts_path, hosts_of(options, rooms.networks, *record, record->config.hostname, linked));
        if (with_resolver) put(record->resolv_conf_path, resolv_conf_of(options, *record));
        return true;
    };
    co_await offload(pool, std::move(write));
}

/// Of a container that runs and has one now. A monitor of an older release cannot: what is asked while no gruad is there is refused then.
asio::awaitable<void> Engine::Impl::hold_resolver(ContainerPtr container) {
    const tasks::TaskPtr task = container->task;
    if (!task) co_return;
    try {
        auto held = co_await offload(pool, [this, id = container->id()] { return held_of(rooms.networks.resolver_sockets(id)); });
        if (!held.empty()) co_await task->hold(std::move(held));
    } catch (const Error& error) {
        log::warn("container {}: its resolver does not outlive this gruad: {}", short_id(container->id()), error.what());
    }
}

void Engine::Impl::emit_network(const network::NetworkConfig& network, std::string action, const std::string& container_id) {
    StringMap attributes{{"name", network.name}, {"type", network.driver}};
    if (!container_id.empty()) attributes.emplace("container", container_id);
    events.publish({.type = "network", .action = std::move(action), .id = network.id, .attributes = std::move(attributes)});
}

asio::awaitable<network::Network> Engine::Impl::create_network(network::NetworkConfig request) {
    auto work = [this, request = std::move(request)] { return rooms.networks.create(request); };
    const network::Network made = co_await offload(pool, std::move(work));
    emit_network(made, "create");
    co_return made;
}

asio::awaitable<void> Engine::Impl::remove_network(std::string reference) {
    const network::NetworkConfig network = rooms.networks.find_config(reference);
    auto work = [this, id = network.id] {
        rooms.networks.remove(id);
        return true;
    };
    co_await offload(pool, std::move(work));
    emit_network(network, "destroy");
}

asio::awaitable<network::Network> Engine::Impl::update_network(std::string reference, StringMap changes) {
    auto work = [this, reference, changes] { return rooms.networks.update(reference, changes); };
    const network::Network changed = co_await offload(pool, std::move(work));
    emit_network(changed, "update");
    co_return changed;
}

asio::awaitable<Pruned> Engine::Impl::prune_networks(std::function<bool(const network::Network&)> keep) {
    Pruned out;
    for (const network::Network& network : rooms.networks.list()) {
        if (network::is_predefined(network.name) || network.config_only || !network.containers.empty() || (keep && keep(network))) continue;
        const auto uses = [&](const auto& each) { return each.second->record->networks.contains(network.name); };
        if (std::ranges::any_of(containers, uses)) continue;
        try {
            co_await remove_network(network.id);
        } catch (const Error& error) {
            log::warn("prune network {}: {}", network.name, error.what());
            continue;
        }
        out.deleted.push_back(network.name);
    }
    events.publish({.type = "network", .action = "prune", .id = "", .attributes = {{"reclaimed", "0"}}});
    co_return out;
}

/// Where the next gruad looks, of one that runs also in the mark of its start: see recover.cpp.
asio::awaitable<void> Engine::Impl::save_networking(ContainerPtr container) {
    publish(*container);
    save(*container);
    auto keep = [live = live_directory(container->id()), record = container->record] { write_start_mark(live, *record); };
    if (is_running(container->record->state.status)) co_await offload(pool, std::move(keep));
    co_await save_to_end(container);
}

asio::awaitable<void> Engine::Impl::connect_network(std::string reference, std::string network, EndpointSettings settings) {
    const auto container = get_container(reference);
    check_texts(settings);
    const Lane::Turn turn = co_await container->lane.take();
    const ContainerRecord& record = *container->record;
    if (container->is_gone() || record.state.status == Status::removing || record.state.status == Status::dead)
        fail(ErrorKind::conflict, "container is marked for removal and cannot be connected to the network");
    const std::string mode = record.host_config.network_mode;
    if (mode.starts_with("container:") || mode == "host")
        fail(ErrorKind::invalid_argument,
             "container sharing network namespace with another container or host cannot be connected to any other network");
    if (mode == "none" && record.networks.contains("none"))
        fail(ErrorKind::invalid_argument,
             "container cannot be connected to multiple networks with one of the networks in private (none) mode");
    const bool runs = is_running(record.state.status);
    std::optional<network::NetworkConfig> found;
    try {
        found = rooms.networks.find_config(network);
    } catch (const Error&) {
        if (runs) throw;
    }
    const std::string name = found ? found->name : network;
    if (name == "host")
        fail(ErrorKind::invalid_argument, "cannot connect container to host network - container must be created in host network mode");
    if (name == "none")
        fail(ErrorKind::invalid_argument,
             "container cannot be connected to multiple networks with one of the networks in private (none) mode");
    check_endpoint(name, settings, found);
    const std::string mac = settings.mac_address;
    if (runs) {
        if (record.networks.contains(name))
            fail(ErrorKind::forbidden, "endpoint with name {} already exists in network {}", record.name, name);
        // What could not be published yet, because no network led out.
        auto waiting = record.ports.empty() ? port_requests(record) : std::vector<network::PortRequest>{};
        auto work = [this, id = record.id, netns = namespace_of(*container), asked = endpoint_request(record, name, settings, mac),
                     waiting = std::move(waiting)] {
            auto made = std::pair{rooms.networks.connect(id, netns->get(), asked), std::vector<network::PublishedPort>{}};
            if (waiting.empty() || !rooms.networks.can_publish(id)) return made;
            try {
                made.second = rooms.networks.change_ports(id, {}, waiting);
            } catch (...) {
                rooms.networks.disconnect(id, netns->get(), asked.network);
                throw;
            }
            return made;
        };
        const auto [endpoint, ports] = co_await offload(pool, std::move(work));
        container->update([&](ContainerRecord& next) {
            if (!ports.empty()) next.ports = ports_of(ports);
            next.networks[name] = settings;
            if (!mac.empty()) next.desired_macs[name] = mac;
            set_endpoint(next, endpoint);
        });
        // The first network with names brings the resolver.
        const auto named = std::ranges::count_if(container->record->networks, [](const auto& each) { return is_user_defined(each.first); });
        const bool is_first = named == 1 && is_user_defined(name);
        if (is_first) co_await hold_resolver(container);
        co_await rewrite_network_files(container, is_first);
    } else {
        container->update([&](ContainerRecord& next) {
            next.networks[name] = settings;
            if (found) next.networks[name].network_id = found->id;
            if (!mac.empty()) next.desired_macs[name] = mac;
        });
    }
    co_await save_networking(container);
    if (found && runs) emit_network(*found, "connect", container->id());
}

asio::awaitable<void> Engine::Impl::disconnect_network(std::string reference, std::string network, bool force) {
    const auto container = get_container(reference);
    const Lane::Turn turn = co_await container->lane.take();
    if (container->is_gone()) fail(ErrorKind::not_found, "No such container: {}", reference);
    const ContainerRecord& record = *container->record;
    std::optional<network::NetworkConfig> found;
    try {
        found = rooms.networks.find_config(network);
    } catch (const Error&) {
        if (!force && is_running(record.state.status)) throw;
    }
    const std::string name = found ? found->name : network;
    if (record.host_config.network_mode == "host" && name == "host")
        fail(ErrorKind::invalid_argument, "cannot disconnect container from host network - container was created in host network mode");
    const bool runs = is_running(record.state.status);
    if (!record.networks.contains(name)) {
        fail(ErrorKind::system, "container {} is not connected to {}network {}", record.id, runs ? "" : "the ", name);
    }
    if (runs && found) {
        auto work = [this, id = record.id, netns = namespace_of(*container), network_id = found->id] {
            rooms.networks.disconnect(id, netns->get(), network_id);
            return true;
        };
        co_await offload(pool, std::move(work));
    }
    container->update([&](ContainerRecord& next) {
        next.networks.erase(name);
        next.desired_macs.erase(name);
        next.interfaces.erase(name);
    });
    if (runs) co_await rewrite_network_files(container, false);
    co_await save_networking(container);
    if (found && runs) emit_network(*found, "disconnect", container->id());
}

/// With the container's lane held. What is removed stays away when the container starts again, what is added comes back.
asio::awaitable<void> Engine::Impl::change_ports(ContainerPtr container, Ports added, Ports removed) {
    const ContainerRecord& record = *container->record;
    if (!has_sandbox(record))
        fail(ErrorKind::invalid_argument, "ports of a container with network mode {} cannot be published", record.host_config.network_mode);
    const auto requests = port_requests(added);
    const Ports asked_away = matching(record.host_config.port_bindings, removed);
    const Ports away = matching(record.ports, removed);
    for (const auto& [text, bindings] : removed)
        if (!asked_away.contains(text) && !away.contains(text))
            fail(ErrorKind::not_found, "port {} of container {} is not published", text, record.name);
    std::optional<Ports> now;
    if (is_running(record.state.status)) {
        auto work = [this, id = record.id, gone = published_of(away), requests] { return rooms.networks.change_ports(id, gone, requests); };
        now = ports_of(co_await offload(pool, std::move(work)));
    }
    container->update([&](ContainerRecord& next) {
        take_away(next.host_config.port_bindings, asked_away);
        for (const auto& [text, bindings] : added) {
            auto& all = next.host_config.port_bindings[text];
            all.insert(all.end(), bindings.begin(), bindings.end());
            next.config.exposed_ports.try_emplace(text, boost::json::object{});
        }
        if (now) next.ports = std::move(*now);
    });
    co_await save_networking(container);
}

/// With the container's lane held: the ports of `from` are this one's at once, connections that it has go on.
asio::awaitable<void> Engine::Impl::take_ports(ContainerPtr container, std::string from) {
    const auto other = get_container(from);
    if (other == container) fail(ErrorKind::invalid_argument, "a container cannot take its own ports");
    const auto held = other->lane.try_take();
    if (!held) fail(ErrorKind::conflict, "container {} is being changed: try again", other->record->name);
    if (!is_running(container->record->state.status) || !is_running(other->record->state.status))
        fail(ErrorKind::conflict, "ports are handed over between containers that run");
    auto work = [this, one = other->id(), to = container->id()] { return rooms.networks.move_ports(one, to); };
    const Ports now = ports_of(co_await offload(pool, std::move(work)));
    const Ports asked = other->record->host_config.port_bindings;
    other->update([](ContainerRecord& next) {
        next.host_config.port_bindings.clear();
        next.ports.clear();
    });
    container->update([&](ContainerRecord& next) {
        for (const auto& [text, bindings] : asked) {
            auto& all = next.host_config.port_bindings[text];
            all.insert(all.end(), bindings.begin(), bindings.end());
        }
        next.ports = now;
    });
    // The one that has them first: a gruad that dies in between finds them there.
    co_await save_networking(container);
    co_await save_networking(other);
}

}  // namespace grua::engine
