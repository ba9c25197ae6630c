#include "engine/networking/networking.hpp"

#include "base/error.hpp"
#include "base/id.hpp"

#include <fcntl.h>
#include <poll.h>
#include <algorithm>

namespace grua::engine {

using linux::Ip;

namespace {

constexpr const char* sysctls_option = "com.docker.network.endpoint.sysctls";
constexpr const char* interface_option = "com.docker.network.endpoint.ifname";

constexpr const char* held_udp = "dns-udp";
constexpr const char* held_tcp = "dns-tcp";
constexpr std::string_view policy_label = "grua.publish-policy";  ///< Of all ports; with ".80/tcp" behind, of one.

struct ContainerPort {
    std::uint8_t protocol = 0;
    std::uint16_t port = 0;
};

/// "80/tcp".
ContainerPort parse_port(const std::string& text) {
    const auto slash = text.find('/');
    const auto number = parse_uint(text.substr(0, slash));
    const auto protocol = network::parse_protocol(slash == std::string::npos ? "tcp" : text.substr(slash + 1));
    if (!number || *number == 0 || *number > 65535) fail(ErrorKind::invalid_argument, "invalid port specification: \"{}\"", text);
    if (!protocol) fail(ErrorKind::invalid_argument, "invalid port specification: \"{}\": invalid proto", text);
    return {*protocol, static_cast<std::uint16_t>(*number)};
}

std::string port_text(std::uint8_t protocol, std::uint16_t port) { return fmt::format("{}/{}", port, network::protocol_name(protocol)); }

std::string option(const EndpointSettings& settings, const char* name) {
    if (!settings.driver_opts) return "";
    const auto found = settings.driver_opts->find(name);
    return found == settings.driver_opts->end() ? "" : found->second;
}

network::PortRequest port_request(const ContainerPort& port, const PortBinding& binding) {
    network::PortRequest out{.protocol = port.protocol, .port = port.port};
    if (!binding.host_ip.empty()) {
        out.host_ip = Ip::parse(binding.host_ip);
        if (!out.host_ip) fail(ErrorKind::invalid_argument, "invalid IP address: {}", binding.host_ip);
    }
    std::tie(out.first, out.last) = network::parse_port_range(binding.host_port);
    return out;
}

}  // namespace

void take_labels(const StringMap& labels, Resources& out) {
    const auto take = [&](const char* label, std::string& value) {
        const auto found = labels.find(label);
        if (found != labels.end() && value.empty()) value = found->second;
    };
    take("grua.net-rate-in", out.net_rate_in);
    take("grua.net-rate-out", out.net_rate_out);
    take("grua.net-burst", out.net_burst);
    const auto allow = labels.find("grua.network-allow");
    if (allow == labels.end() || !out.network_allow.empty()) return;
    for (std::string& each : split(allow->second, ' '))
        if (!each.empty()) out.network_allow.push_back(std::move(each));
}

ContainerLink parse_link(const std::string& text) {
    const auto parts = split(text, ':');
    if (text.empty() || parts.size() > 2 || parts.front().empty() || parts.back().empty())
        fail(ErrorKind::invalid_argument, "bad format for links: {}", text);
    ContainerLink out{.name = parts.front(), .alias = parts.back()};
    if (out.name.starts_with('/')) out.name.erase(0, 1);
    if (const auto slash = out.alias.rfind('/'); slash != std::string::npos) out.alias.erase(0, slash + 1);
    return out;
}

network::RateLimits rate_limits(const Resources& resources) {
    return network::parse_limits(resources.net_rate_in, resources.net_rate_out, resources.net_burst);
}

std::optional<network::Policy> network_policy(const Resources& resources) {
    if (resources.network_allow.empty()) return std::nullopt;
    return network::parse_policy(resources.network_allow);
}

bool is_user_defined(std::string_view network) noexcept {
    return !network.empty() && !network::is_predefined(network) && !network.starts_with("container:");
}

std::string network_of_mode(const std::string& mode) {
    if (mode.empty() || mode == "default") return "bridge";
    return mode.starts_with("container:") ? "" : mode;
}

bool has_sandbox(const ContainerRecord& record) {
    const std::string network = network_of_mode(record.host_config.network_mode);
    return !network.empty() && network != "host" && network != "none";
}

void check_endpoint(const std::string& network, const EndpointSettings& settings, const std::optional<network::NetworkConfig>& found) {
    StringList errors;
    const EndpointIpamConfig asked = settings.ipam_config.value_or(EndpointIpamConfig{});
    if (!is_user_defined(network)) {
        if (!asked.ipv4_address.empty() || !asked.ipv6_address.empty())
            errors.emplace_back("user specified IP address is supported on user defined networks only");
        if (settings.aliases && !settings.aliases->empty())
            errors.emplace_back("network-scoped alias is supported only for containers in user defined networks");
    }
    const auto check = [&](const std::string& text, bool v6, const char* what) {
        const auto address = text.empty() ? std::nullopt : Ip::parse(text);
        if (!text.empty() && (!address || address->is_v6() != v6)) errors.push_back(fmt::format("invalid {} address: {}", what, text));
    };
    check(asked.ipv4_address, false, "IPv4");
    check(asked.ipv6_address, true, "IPv6");
    for (const std::string* text : {&asked.ipv4_address, &asked.ipv6_address}) {
        const auto address = Ip::parse(*text);
        const auto holds = [&](const network::IpamConfig& each) {
            const auto subnet = linux::IpPrefix::parse(each.subnet);
            return subnet && subnet->contains(*address);
        };
        if (found && address && std::ranges::none_of(found->ipam.config, holds))
            errors.push_back(fmt::format("no configured subnet or ip-range contain the IP address {}", *text));
    }
    for (const std::string& each : asked.link_local_ips)
        if (!Ip::parse(each)) errors.push_back(fmt::format("invalid link-local IP address: {}", each));
    if (!settings.mac_address.empty() && !linux::Mac::parse(settings.mac_address))
        errors.push_back(fmt::format("invalid MAC address: {}", settings.mac_address));
    if (errors.empty()) return;
    std::string text;
    for (const std::string& each : errors) text += "\n" + each;
    fail(ErrorKind::invalid_argument, "invalid endpoint settings:{}", text);
}

/// Of all its ports, and of single ones.
struct PublishPolicies {
    std::optional<network::PublishPolicy> all;
    std::map<std::string, network::PublishPolicy> ports;
};

PublishPolicies publish_policies(const ContainerConfig& config) {
    PublishPolicies out;
    for (const auto& [label, value] : config.labels) {
        if (!label.starts_with(policy_label)) continue;
        const auto policy = network::parse_publish_policy(value);
        if (!policy) fail(ErrorKind::invalid_argument, "label {}: \"{}\" is no policy: docker or host-input", label, value);
        if (label.size() == policy_label.size()) {
            out.all = policy;
        } else {
            if (label[policy_label.size()] != '.')
                fail(ErrorKind::invalid_argument, "label {}: no such setting: {}.PORT/PROTOCOL", label, policy_label);
            const ContainerPort port = parse_port(label.substr(policy_label.size() + 1));
            out.ports[port_text(port.protocol, port.port)] = *policy;
        }
    }
    return out;
}

void check_networking(const ContainerConfig& config, const HostConfig& host_config) {
    const bool limited = rate_limits(host_config).any();
    const bool has_policy = network_policy(host_config).has_value();
    const std::string network = network_of_mode(host_config.network_mode);
    if ((limited || has_policy) && (network.empty() || network == "host" || network == "none"))
        fail(ErrorKind::invalid_argument, "{} of a container with network mode {}: it has no network of its own",
             limited ? "net-rate-in, net-rate-out" : "network-allow", host_config.network_mode);
    for (const auto& [text, unused] : config.exposed_ports) parse_port(text);
    for (const auto& [text, bindings] : host_config.port_bindings)
        for (const PortBinding& each : bindings) port_request(parse_port(text), each);
    publish_policies(config);
}

StringList dns_names(const ContainerRecord& record, const EndpointSettings& settings) {
    StringList out{record.name};
    if (settings.aliases) out.insert(out.end(), settings.aliases->begin(), settings.aliases->end());
    out.emplace_back(short_id(record.id));
    if (!record.config.hostname.empty()) out.push_back(record.config.hostname);
    StringList unique;
    for (std::string& each : out)
        if (std::ranges::find(unique, each) == unique.end()) unique.push_back(std::move(each));
    return unique;
}

network::EndpointRequest endpoint_request(const ContainerRecord& record, const std::string& network, const EndpointSettings& settings,
                                          const std::string& mac) {
    network::EndpointRequest out{.network = network, .mac = mac, .gw_priority = settings.gw_priority};
    if (is_user_defined(network)) out.names = dns_names(record, settings);
    for (const std::string& each : settings.links.value_or(StringList{})) {
        const ContainerLink link = parse_link(each);
        out.links[link.alias] = link.name;
    }
    if (settings.ipam_config) {
        out.ip = settings.ipam_config->ipv4_address;
        out.ipv6 = settings.ipam_config->ipv6_address;
        out.link_local_ips = settings.ipam_config->link_local_ips;
    }
    out.interface = option(settings, interface_option);
    if (const std::string sysctls = option(settings, sysctls_option); !sysctls.empty()) out.sysctls = split(sysctls, ',');
    return out;
}

network::SandboxRequest sandbox_request(const ContainerRecord& record, const StringList& nameservers) {
    network::SandboxRequest request{.container_id = record.id, .name = record.name, .ports = port_requests(record)};
    request.nameservers = record.host_config.dns.empty() ? nameservers : record.host_config.dns;
    PublishPolicies policies = publish_policies(record.config);
    request.publish_policy = policies.all;
    request.port_policies = std::move(policies.ports);
    request.labels = record.config.labels;
    request.limits = rate_limits(record.host_config);
    request.policy = network_policy(record.host_config);
    for (const auto& [text, unused] : record.config.exposed_ports) {
        const ContainerPort port = parse_port(text);
        request.exposed.emplace_back(port.protocol, port.port);
    }
    for (const auto& [alias, id] : record.links) request.links.push_back(id);
    std::vector<network::EndpointRequest>& out = request.endpoints;
    const std::string first = network_of_mode(record.host_config.network_mode);
    const auto add = [&](const std::string& name) {
        const auto mac = record.desired_macs.find(name);
        out.push_back(endpoint_request(record, name, record.networks.at(name), mac == record.desired_macs.end() ? "" : mac->second));
    };
    if (record.networks.contains(first)) add(first);
    for (const auto& [name, settings] : record.networks)
        if (name != first) add(name);
    return request;
}

std::vector<network::PortRequest> port_requests(const ContainerRecord& record) {
    // A port that must be a certain one is not given to those that take any.
    std::vector<network::PortRequest> certain;
    std::vector<network::PortRequest> others;
    const auto add = [&](const std::string& text, const PortBinding& binding) {
        network::PortRequest request = port_request(parse_port(text), binding);
        (request.first != 0 && request.first == request.last ? certain : others).push_back(std::move(request));
    };
    for (const auto& [text, bindings] : record.host_config.port_bindings) {
        for (const PortBinding& each : bindings) add(text, each);
        if (bindings.empty() && record.host_config.publish_all_ports) add(text, {});
    }
    if (record.host_config.publish_all_ports) {
        for (const auto& [text, unused] : record.config.exposed_ports)
            if (!record.host_config.port_bindings.contains(text)) add(text, {});
    }
    certain.insert(certain.end(), others.begin(), others.end());
    return certain;
}

void set_endpoint(ContainerRecord& record, const network::Endpoint& endpoint) {
    EndpointSettings& settings = record.networks[endpoint.network];
    settings.network_id = endpoint.network_id;
    settings.endpoint_id = endpoint.endpoint_id;
    settings.gateway = endpoint.gateway;
    settings.ip_address = endpoint.ip;
    settings.ip_prefix_len = endpoint.prefix_length;
    settings.ipv6_gateway = endpoint.ipv6_gateway;
    settings.global_ipv6_address = endpoint.ipv6;
    settings.global_ipv6_prefix_len = endpoint.ipv6_prefix_length;
    settings.mac_address = endpoint.mac;
    if (is_user_defined(endpoint.network)) settings.dns_names = dns_names(record, settings);
    record.interfaces[endpoint.network] = endpoint.interface;
}

Ports ports_of(const std::vector<network::PublishedPort>& published) {
    Ports out;
    for (const network::PublishedPort& each : published)
        out[port_text(each.protocol, each.port)].push_back(
            {.host_ip = each.host_ip.text(), .host_port = each.host_port == 0 ? "" : std::to_string(each.host_port)});
    return out;
}

std::vector<network::PublishedPort> published_of(const Ports& ports) {
    std::vector<network::PublishedPort> out;
    for (const auto& [text, bindings] : ports) {
        const ContainerPort port = parse_port(text);
        for (const PortBinding& each : bindings) {
            const auto host_ip = Ip::parse(each.host_ip);
            const auto host_port = each.host_port.empty() ? std::optional<std::uint64_t>{0} : parse_uint(each.host_port);
            if (!host_ip || !host_port || *host_port > 65535) continue;
            out.push_back(
                {.protocol = port.protocol, .port = port.port, .host_ip = *host_ip, .host_port = static_cast<std::uint16_t>(*host_port)});
        }
    }
    return out;
}

std::vector<network::PortRequest> port_requests(const Ports& asked) {
    std::vector<network::PortRequest> out;
    for (const auto& [text, bindings] : asked)
        for (const PortBinding& each : bindings) out.push_back(port_request(parse_port(text), each));
    return out;
}

Ports matching(const Ports& ports, const Ports& pattern) {
    Ports out;
    for (const auto& [text, wanted] : pattern) {
        const ContainerPort port = parse_port(text);
        const auto found = ports.find(port_text(port.protocol, port.port));
        if (found == ports.end()) continue;
        for (const PortBinding& each : found->second) {
            const auto meets = [&](const PortBinding& one) {
                return (one.host_ip.empty() || one.host_ip == each.host_ip) && (one.host_port.empty() || one.host_port == each.host_port);
            };
            if (wanted.empty() || std::ranges::any_of(wanted, meets)) out[found->first].push_back(each);
        }
    }
    return out;
}

void take_away(Ports& ports, const Ports& removed) {
    for (const auto& [text, bindings] : removed) {
        const auto found = ports.find(text);
        if (found == ports.end()) continue;
        std::erase_if(found->second, [&](const PortBinding& each) { return std::ranges::find(bindings, each) != bindings.end(); });
        if (found->second.empty()) ports.erase(found);
    }
}

void clear_networking(ContainerRecord& record) {
    for (auto& [name, settings] : record.networks) {
        settings.endpoint_id.clear();
        settings.gateway.clear();
        settings.ip_address.clear();
        settings.ip_prefix_len = 0;
        settings.ipv6_gateway.clear();
        settings.global_ipv6_address.clear();
        settings.global_ipv6_prefix_len = 0;
        const auto mac = record.desired_macs.find(name);
        settings.mac_address = mac == record.desired_macs.end() ? "" : mac->second;
    }
    record.sandbox_id.clear();
    record.ports.clear();
    record.interfaces.clear();
}

std::map<std::string, Fd> held_of(network::ResolverSockets sockets) {
    std::map<std::string, Fd> out;
    if (!sockets) return out;
    out[held_udp] = std::move(sockets.udp);
    out[held_tcp] = std::move(sockets.tcp);
    return out;
}

network::ResolverSockets resolver_of(std::map<std::string, Fd>& held) {
    return {.udp = std::move(held[held_udp]), .tcp = std::move(held[held_tcp])};
}

network::Attachment attachment_of(const ContainerRecord& record, const StringList& nameservers) {
    if (!has_sandbox(record)) return {.request = {.container_id = record.id}};
    network::Attachment out{.request = sandbox_request(record, nameservers)};
    for (const auto& [name, settings] : record.networks) {
        if (settings.endpoint_id.empty()) continue;
        network::Endpoint endpoint;
        endpoint.endpoint_id = settings.endpoint_id;
        endpoint.network_id = settings.network_id;
        endpoint.network = name;
        endpoint.ip = settings.ip_address;
        endpoint.prefix_length = static_cast<unsigned>(settings.ip_prefix_len);
        endpoint.gateway = settings.gateway;
        endpoint.ipv6 = settings.global_ipv6_address;
        endpoint.ipv6_prefix_length = static_cast<unsigned>(settings.global_ipv6_prefix_len);
        endpoint.ipv6_gateway = settings.ipv6_gateway;
        endpoint.mac = settings.mac_address;
        endpoint.gw_priority = settings.gw_priority;
        if (const auto interface = record.interfaces.find(name); interface != record.interfaces.end())
            endpoint.interface = interface->second;
        out.endpoints.push_back(std::move(endpoint));
    }
    out.ports = published_of(record.ports);
    return out;
}

}  // namespace grua::engine
