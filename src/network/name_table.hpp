// The names of containers on their networks, and the answers that they give.
#pragma once

#include "network/dns_message.hpp"
#include "network/resolver.hpp"

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace grua::network {

class NameTable {
public:
    /// In the place of what the container had on that network.
    void set(const std::string& container_id, NamedEndpoint endpoint);
    void remove(const std::string& container_id, const std::string& network_id);

    /// What the view's networks know; nothing where the question is for others. Each answer rotates the addresses of its network's names.
    std::optional<dns::Bytes> answer(const ResolverView& view, const dns::Question& question, std::size_t limit);
    /// All networks, and a refusal for what none of them knows.
    dns::Bytes answer_to_host(dns::View query, const dns::Question& question, std::size_t limit);

private:
    /// Names of one network.
    struct Zone {
        std::string name;
        std::map<std::string, NamedEndpoint> endpoints;                   ///< By container ID.
        std::multimap<std::string, std::string, std::less<>> containers;  ///< Lower-case name → container ID.
        std::map<std::string, std::string> addresses;                     ///< Address → container ID.
        std::size_t turn = 0;                                             ///< Rotates the addresses of a name.

        std::vector<const NamedEndpoint*> named(std::string_view text);
        const NamedEndpoint* at(const std::string& address) const;
    };

    std::unordered_map<std::string, Zone> zones_;  ///< By network ID.
};

}  // namespace grua::network
