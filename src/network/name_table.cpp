#include "network/name_table.hpp"

#include "base/text.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <ranges>

namespace grua::network {

namespace {

constexpr std::uint16_t class_internet = 1;

/// None where a name that is known has nothing of this type, which is no error.
std::vector<linux::Ip> addresses_of(const std::vector<const NamedEndpoint*>& endpoints, std::uint16_t type) {
    std::vector<linux::Ip> out;
    for (const NamedEndpoint* each : endpoints) {
        const std::string& text = type == dns::type_a ? each->ipv4 : type == dns::type_aaaa ? each->ipv6 : std::string();
        if (const auto ip = linux::Ip::parse(text)) out.push_back(*ip);
    }
    return out;
}

}  // namespace

void NameTable::set(const std::string& container_id, NamedEndpoint endpoint) {
    remove(container_id, endpoint.network_id);
    Zone& zone = zones_[endpoint.network_id];
    zone.name = to_lower(endpoint.network_name);
    for (const std::string& each : endpoint.names) zone.containers.emplace(to_lower(each), container_id);
    for (const std::string* each : {&endpoint.ipv4, &endpoint.ipv6})
        if (!each->empty()) zone.addresses[*each] = container_id;
    zone.endpoints[container_id] = std::move(endpoint);
}

void NameTable::remove(const std::string& container_id, const std::string& network_id) {
    const auto zone = zones_.find(network_id);
    if (zone == zones_.end()) return;
    auto& [name, endpoints, containers, addresses, turn] = zone->second;
    const auto endpoint = endpoints.find(container_id);
    if (endpoint == endpoints.end()) return;
    for (const std::string& each : endpoint->second.names) {
        auto [at, end] = containers.equal_range(to_lower(each));
        while (at != end) at = at->second == container_id ? containers.erase(at) : std::next(at);
    }
    for (const std::string* each : {&endpoint->second.ipv4, &endpoint->second.ipv6})
        if (const auto at = addresses.find(*each); at != addresses.end() && at->second == container_id) addresses.erase(at);
    endpoints.erase(endpoint);
    if (endpoints.empty()) zones_.erase(zone);
}

/// The endpoints of a name: "web", or "web.NETWORK".
std::vector<const NamedEndpoint*> NameTable::Zone::named(std::string_view text) {
    auto [first, last] = containers.equal_range(text);
    if (first == last && text.ends_with("." + name))
        std::tie(first, last) = containers.equal_range(text.substr(0, text.size() - name.size() - 1));
    std::vector<const NamedEndpoint*> out;
    for (; first != last; ++first) out.push_back(&endpoints.at(first->second));
    // Service names with several addresses: everyone gets another one first.
    if (!out.empty()) std::ranges::rotate(out, out.begin() + static_cast<std::ptrdiff_t>(turn++ % out.size()));
    return out;
}

const NamedEndpoint* NameTable::Zone::at(const std::string& address) const {
    const auto found = addresses.find(address);
    return found == addresses.end() ? nullptr : &endpoints.at(found->second);
}

std::optional<dns::Bytes> NameTable::answer(const ResolverView& view, const dns::Question& question, std::size_t limit) {
    if (question.class_ != class_internet) return std::nullopt;
    const auto reverse = question.type == dns::type_ptr ? dns::reverse_address(question.name) : std::nullopt;
    const auto link = view.links.find(question.name);
    const std::string name = link == view.links.end() ? question.name : to_lower(link->second);
    for (const std::string& network : view.networks) {
        const auto zone = zones_.find(network);
        if (zone == zones_.end()) continue;
        if (question.type == dns::type_ptr) {
            if (const NamedEndpoint* found = reverse ? zone->second.at(reverse->text()) : nullptr)
                return dns::answer_name(question, fmt::format("{}.{}.", found->hostname, found->network_name));
        } else if (const auto found = zone->second.named(name); !found.empty()) {
            return dns::answer_addresses(question, addresses_of(found, question.type), limit);
        }
    }
    return std::nullopt;
}

dns::Bytes NameTable::answer_to_host(dns::View query, const dns::Question& question, std::size_t limit) {
    constexpr std::string_view domain = Resolver::host_domain;
    if (question.class_ != class_internet) return dns::answer_error(query, dns::Rcode::refused);
    if (const auto reverse = question.type == dns::type_ptr ? dns::reverse_address(question.name) : std::nullopt) {
        for (const Zone& zone : std::views::values(zones_)) {
            if (const NamedEndpoint* found = zone.at(reverse->text()))
                return dns::answer_name(question, fmt::format("{}.{}.{}.", found->hostname, found->network_name, domain));
        }
        return dns::answer_error(query, dns::Rcode::refused);
    }
    std::string name = question.name;
    const bool is_below = name.ends_with(fmt::format(".{}", domain));
    if (is_below) name.resize(name.size() - domain.size() - 1);
    std::vector<const NamedEndpoint*> found;
    for (Zone& zone : std::views::values(zones_)) {
        const auto here = zone.named(name);
        found.insert(found.end(), here.begin(), here.end());
    }
    if (found.empty()) return dns::answer_error(query, is_below ? dns::Rcode::name_error : dns::Rcode::refused);
    return dns::answer_addresses(question, addresses_of(found, question.type), limit);
}

}  // namespace grua::network
